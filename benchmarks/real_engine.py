"""The real engine on the cores of this machine: plain `vllm serve`, this worker's modes and the original, in turns.

Only one engine runs at a time: each turn starts its target, warms it up, measures it and stops it, so that no other
engine's threads compete for the cores. The CPU seconds of every process are kept, round by round.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from benchmarks.goals import Goal, goals_table
from benchmarks.light_streams import LightGenerator
from benchmarks.record import Report, Table, add_output, deliver, original_version
from benchmarks.stacks import (
    HTTP,
    ORIGINAL,
    PLAIN,
    QUEUE,
    Running,
    http_over_vllm,
    original_over_vllm,
    plain_vllm,
    queue_over_vllm,
)
from tests.support.http_mode import free_port
from worker_vllm.bench.comparison import Spread, rows
from worker_vllm.bench.load_plan import LoadPlan
from worker_vllm.bench.progress_line import ProgressLine
from worker_vllm.bench.rounds import Schedule, Site, measure
from worker_vllm.bench.samples import RoundFigures
from worker_vllm.bench.targets import BenchTarget, TargetKind
from worker_vllm.bench.text_report import number
from worker_vllm.bench.visible_processes import listeners
from worker_vllm.engine.process.guard import descendants
from worker_vllm.simulation.arrivals import FixedLength

WARM_UP = 0  # the number of a round that does not count
Start = Callable[[int], AbstractContextManager[Running]]
UNBOUND = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) - 1))}
BOUND = re.compile(r"[^\n]*(?:VLLM_CPU_OMP_THREADS_BIND|core ids=|reserved_cpus|OMP_NUM_THREADS)[^\n]*")


class OneAtATime(Site):
    """Starts a target for its round only. Its calls block: nothing else runs in this process meanwhile."""

    def __init__(self, starts: Mapping[str, Start], warm: LoadPlan) -> None:
        self._starts = starts
        self._warm = warm
        self._stack = contextlib.ExitStack()
        self._running: Running | None = None
        self.threads: list[
            dict[str, object]
        ] = []  # of each turn: what the engine said of its threads, and what they are

    async def enter(self, target: BenchTarget) -> list[int]:
        """Start it and warm it up; its processes."""
        one = self._stack.enter_context(self._starts[target.name](port_of(target)))
        self._running = one
        await LightGenerator().send(target, self._warm, WARM_UP)
        return [*listeners(target), *(process.pid for process in one.processes)]

    async def leave(self, target: BenchTarget, round_number: int) -> None:
        """Stop it with its engine."""
        if (one := self._running) is not None:
            processes = [found for process in one.processes for found in threads(process.pid)]
            said = [line.strip() for line in BOUND.findall(one.output())]
            self.threads.append({"target": target.name, "round": round_number, "said": said, "processes": processes})
        self._running = None
        self._stack.close()


def threads(root: int) -> list[dict[str, object]]:
    """Each process below `root`: its command, and how many of its threads may run on which cores."""
    found: list[dict[str, object]] = []
    for pid in (root, *descendants(root)):
        try:
            tasks = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
            cores = Counter(",".join(map(str, sorted(os.sched_getaffinity(task)))) for task in tasks)
            title = Path(f"/proc/{pid}/comm").read_text().strip()
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        words = " ".join(map(plain_word, command.split()[:4]))
        name = "python" if title.startswith("/") else title  # a forked process's title is the cut path of Python
        found.append({"name": name, "command": words, "threads by cores": dict(cores)})
    return found


def plain_word(word: str) -> str:
    """A word of a command without the directories of this machine."""
    return word.rpartition("/")[2] if word.startswith("/") else word


def port_of(target: BenchTarget) -> int:
    """The port of its address."""
    port = urlsplit(target.url).port
    assert port is not None
    return port


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks real_engine", description=__doc__)
    parser.add_argument("--streams", type=int, default=32, help="at once")
    parser.add_argument("--requests", type=int, default=256, help="of one round")
    parser.add_argument("--tokens", type=int, default=64, help="of each stream")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--unbound",
        action="store_true",
        help="start `vllm serve` and the original with one engine thread on any core, as the worker does on CPU; "
        "vLLM's own default binds its thread to one core and leaves the others to its server",
    )
    parser.add_argument("--only", default="", help="just the targets whose names hold one of these, comma-separated")
    parser.add_argument("--original", type=Path, metavar="DIR", help="the original worker, by benchmarks/original.sh")
    add_output(parser)
    given = parser.parse_args()
    starts = chosen(given)
    wanted = [name for name in starts if any(one in name for one in given.only.split(","))]
    plan = LoadPlan(
        given.requests, given.streams, None, FixedLength(8), FixedLength(given.tokens), chat=False, ignore_eos=True
    )
    site = OneAtATime(starts, replace(plan, requests=2 * given.streams))
    rounds = uvloop.run(play([target_of(name) for name in wanted], plan, Schedule(given.rounds, 0, site)))
    figures = {"rounds": [asdict(one) for one in rounds], "threads": site.threads}
    tables = [measures_table(wanted, rounds), rounds_table(wanted, rounds), cpu_table(wanted, rounds)]
    tables += goals_table(goals(rounds))
    deliver(Report("real_engine", tables, figures, original_version(given.original)), given)


def chosen(given: argparse.Namespace) -> dict[str, Start]:
    """How each target is started."""
    threads_set = UNBOUND if given.unbound else {}
    starts: dict[str, Start] = {
        PLAIN: partial(plain_vllm, more=threads_set),
        QUEUE: queue_over_vllm,
        HTTP: http_over_vllm,
    }
    if given.original:
        starts[ORIGINAL] = partial(original_over_vllm, given.original.resolve(), more=threads_set)
    return starts


def target_of(name: str) -> BenchTarget:
    """Where a target will be asked once it runs."""
    routes = "v2/local/openai/v1" if name in (QUEUE, ORIGINAL) else "v1"
    return BenchTarget(name, TargetKind.OPENAI, f"http://127.0.0.1:{free_port()}/{routes}", "parrot")


async def play(targets: Sequence[BenchTarget], plan: LoadPlan, schedule: Schedule) -> list[RoundFigures]:
    """All rounds. Raises RuntimeError where a request failed: a figure of fewer requests is another one."""
    progress = ProgressLine(sys.stderr)
    rounds = await measure(targets, plan, schedule, LightGenerator(), progress)
    progress.close()
    for one in rounds:
        if one.failures:
            raise RuntimeError(f"{one.target}, round {one.number}: {one.failures}")
    return rounds


def measures_table(names: Sequence[str], rounds: Sequence[RoundFigures]) -> Table:
    """Every measure of every target, and each later target beside the first."""
    first, *later = names
    lines = []
    for row in rows(names, rounds):
        cells = [spread(row.spreads[name], number) for name in names]
        ratios = [spread(row.ratios[name], "{:.2f}".format) for name in later]
        lines.append([f"{row.measure.name} ({row.measure.unit})", *cells, *ratios])
    head = ["", *names, *(f"{name} / {first}" for name in later)]
    return Table(f"Medians of {rounds_of(rounds)} rounds (lowest-highest)", head, lines)


def rounds_of(rounds: Sequence[RoundFigures]) -> int:
    """How many rounds there were."""
    return max(one.number for one in rounds)


def spread(found: Spread | None, form: Callable[[float], str]) -> str:
    """A median with its range."""
    return f"{form(found.median)} ({form(found.low)}-{form(found.high)})" if found else "-"


def rounds_table(names: Sequence[str], rounds: Sequence[RoundFigures]) -> Table:
    """Round by round: what lies behind the medians, and queue mode beside the original."""
    lines = []
    for count in range(1, rounds_of(rounds) + 1):
        rates = {one.target: one.output_tokens_per_s for one in rounds if one.number == count}
        beside = f"{rates[QUEUE] / rates[ORIGINAL]:.2f}" if {QUEUE, ORIGINAL} <= set(rates) else "-"
        lines.append([str(count), *(f"{rates[name]:.0f}" for name in names), beside])
    return Table("Output tokens/s by round", ["round", *names, f"{QUEUE} / {ORIGINAL}"], lines)


def cpu_table(names: Sequence[str], rounds: Sequence[RoundFigures]) -> Table:
    """Where the CPU went, over all rounds: what lies behind a ratio that is missed."""
    processes = sorted({process for one in rounds for process in one.cpu_s})
    lines = []
    for name in names:
        of = [one for one in rounds if one.target == name]
        tokens = sum(one.output_tokens for one in of)
        spent = [sum(one.cpu_s.get(process, 0.0) for one in of) for process in processes]
        wall = sum(one.wall_s for one in of)
        cells = [f"{1e6 * seconds / tokens:.0f}" if seconds else "-" for seconds in spent]
        lines.append([name, *cells, f"{sum(spent) / wall:.2f}"])
    return Table("CPU a token in µs, by process", ["target", *processes, "cores used"], lines)


def goals(rounds: Sequence[RoundFigures]) -> list[Goal]:
    """What this worker is held against; those whose target was not measured have no values."""
    rates = {(one.target, one.number): one.output_tokens_per_s for one in rounds}

    def beside(ours: str, other: str) -> list[float]:
        numbers = [number for name, number in rates if name == ours and (other, number) in rates]
        return [rates[ours, number] / rates[other, number] for number in sorted(numbers)]

    gaps = [1000 * one.gap.p99 for one in rounds if one.target == QUEUE]
    return [
        Goal(f"{QUEUE}: tokens/s / {PLAIN}", 0.8, beside(QUEUE, PLAIN), at_least=True),
        Goal(f"{HTTP}: tokens/s / {PLAIN}", 0.98, beside(HTTP, PLAIN), at_least=True),
        Goal(f"{QUEUE}: tokens/s / {ORIGINAL}", 1.3, beside(QUEUE, ORIGINAL), at_least=True),
        Goal(f"{QUEUE}: pause between two pieces, p99", 250, gaps, unit="ms"),
    ]
