"""The worker's memory: after its start, and the peak after so many streams at once, beside the original's.

Streams are those of `fan_out`; each number has one round at each worker.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from benchmarks.fan_out import WARM, Watched, counts, peak_mb, plan
from benchmarks.light_streams import LightGenerator
from benchmarks.record import Report, Table, add_output, deliver, original_version
from benchmarks.stacks import Running, original_over_echo, queue_over_echo
from worker_vllm.bench.progress_line import ProgressLine
from worker_vllm.bench.rounds import Schedule, measure


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks memory", description=__doc__)
    parser.add_argument("--streams", type=counts, default=counts("128,512"), help="comma-separated (default 128,512)")
    parser.add_argument("--tokens", type=int, default=300, help="of each stream")
    parser.add_argument("--step-ms", type=float, default=10.0)
    parser.add_argument("--original", type=Path, metavar="DIR", help="the original worker, by benchmarks/original.sh")
    add_output(parser)
    given = parser.parse_args()
    with contextlib.ExitStack() as parts:
        workers = [parts.enter_context(queue_over_echo(given.step_ms))]
        if given.original:
            workers.append(parts.enter_context(original_over_echo(given.original.resolve(), given.step_ms)))
        peaks = uvloop.run(play(workers, given))
    head = ["worker", "after the first streams", *(f"{streams} streams" for streams in given.streams)]
    rows = [[name, *(f"{peak:.0f} MB" for peak in found)] for name, found in peaks.items()]
    title = "Peak of the worker's resident memory, its engine not counted"
    deliver(Report("memory", [Table(title, head, rows)], peaks, original_version(given.original)), given)


async def play(workers: Sequence[Running], given: argparse.Namespace) -> dict[str, list[float]]:
    """The peak after a few streams, then after each number."""
    generator, progress = LightGenerator(), ProgressLine(sys.stderr)
    targets = [one.target for one in workers]
    for target in targets:
        await generator.send(target, plan(WARM, 20), 0)
    peaks = {one.target.name: [peak_mb(one.processes[0].pid)] for one in workers}
    for streams in given.streams:
        site = Watched(workers)
        rounds = await measure(targets, plan(streams, given.tokens), Schedule(1, 0, site), generator, progress)
        for one in rounds:
            if one.failures:
                raise RuntimeError(f"{one.target}, {streams} streams: {one.failures}")
            peaks[one.target].append(site.peak_mb[one.target, one.number])
    progress.close()
    return peaks
