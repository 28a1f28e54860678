"""Many streams at once: throughput, the first token, the age of tokens when they arrive, the worker's CPU per token.

The engine steps all streams together. Each target has an engine of its own; the engine read directly, this worker
and a rival take turns in one run, so that their ratios hold on any machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from benchmarks.cpu import cpu_s, worker_pid
from benchmarks.stamped_streams import Load, percentile, read_streams
from tests.support.http_mode import free_port
from tests.support.observed import SpanCollector
from tests.support.processes import running
from tests.support.stack import serve


@dataclass(frozen=True, slots=True)
class Target:
    """Where streams are asked, for which model, and the process whose CPU counts."""

    name: str
    url: str
    model: str
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One round at one target."""

    target: str
    streams: int
    tokens_per_s: float
    first_token_ms: float  # from the request
    first_lag_ms: float  # from the moment the engine made it
    age_p50_ms: float
    age_p99_ms: float
    tokens_per_piece: float
    cpu_us_per_token: float | None


SILENT = {"LOG_LEVEL": "WARNING"}
FIGURES = [field.name for field in fields(Row) if field.name not in ("target", "streams")]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fan_out", description=__doc__)
    parser.add_argument("--streams", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=300, help="of each stream")
    parser.add_argument("--step-ms", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--observed", action="store_true", help="two workers take turns: with lines, metrics and traces, and without"
    )
    parser.add_argument("--rival", help="URL of another worker's endpoint over a stamping engine of its own")
    parser.add_argument("--rival-pid", type=int, help="the process of the rival worker")
    parser.add_argument("--rival-model", default="echo")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    with contextlib.ExitStack() as running_parts:
        targets = [
            Target("engine", running_parts.enter_context(stamping_engine(given.step_ms)), "echo"),
            running_parts.enter_context(worker("worker", given.step_ms, SILENT if given.observed else {})),
        ]
        if given.observed:
            targets.append(running_parts.enter_context(observed_worker(given.step_ms)))
        if given.rival:
            targets.append(Target("rival", given.rival, given.rival_model, given.rival_pid))
        loads = [Load(1, given.tokens), Load(given.streams, given.tokens)]
        rows = uvloop.run(measure(targets, loads, given.rounds))
    for row in rows:
        print(shown(row))
    for line in ratios(rows, given.streams):
        print(line)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


@contextlib.contextmanager
def worker(name: str, step_ms: float, environment: Mapping[str, str]) -> Iterator[Target]:
    """A worker with its gateway, over a stamping engine of its own."""
    with stamping_engine(step_ms) as engine, serve(engine, "echo", environment=environment) as stack:
        yield Target(name, stack.url, "echo", worker_pid(stack.process.pid))


@contextlib.contextmanager
def observed_worker(step_ms: float) -> Iterator[Target]:
    """A worker that writes lines, serves metrics, and exports the spans of every job to a collector here."""
    with SpanCollector().serving() as collector:
        everything = {
            "LOG_FORMAT": "json",
            "METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        }
        with worker("observed", step_ms, everything) as target:
            yield target


@contextlib.contextmanager
def stamping_engine(step_ms: float) -> Iterator[str]:
    """A stamping engine as a process; its address."""
    with tempfile.TemporaryDirectory() as directory:
        socket = Path(directory, "engine.sock")
        command = [
            sys.executable,
            "-m",
            "benchmarks.stamping_engine",
            "--uds",
            str(socket),
            "--step-ms",
            str(step_ms),
        ]
        with running([*command, "--max-num-seqs", "1024"]) as process:
            process.line("serving")
            yield f"unix:{socket}"


async def measure(targets: list[Target], loads: list[Load], rounds: int) -> list[Row]:
    """Every load at every target, in turns; the median round of each figure."""
    found: dict[tuple[str, int], list[Row]] = {}
    for target in targets:
        await read_streams(target.url, target.model, Load(8, 20))
    for load in loads:
        for _ in range(rounds):
            for target in targets:
                found.setdefault((target.name, load.streams), []).append(await one_round(target, load))
    return [middle(rows) for rows in found.values()]


def middle(rows: list[Row]) -> Row:
    """The median of each figure over the rounds of one load at one target."""
    values = {name: [getattr(row, name) for row in rows] for name in FIGURES}
    middles: dict[str, Any] = {name: None if None in of else median(of) for name, of in values.items()}
    return replace(rows[0], **middles)


async def one_round(target: Target, load: Load) -> Row:
    """One load at one target."""
    before = cpu_s(target.pid) if target.pid else 0.0
    streams = await read_streams(target.url, target.model, load)
    await asyncio.sleep(0.3)  # the worker's last results are part of its work
    used = cpu_s(target.pid) - before if target.pid else None
    ages = [age for stream in streams for age in stream.ages]
    wall = max(s.ended_at for s in streams) - min(s.asked_at for s in streams)
    return Row(
        target=target.name,
        streams=load.streams,
        tokens_per_s=len(ages) / wall,
        first_token_ms=1000 * percentile([s.first_seen_at - s.asked_at for s in streams], 0.5),
        first_lag_ms=1000 * percentile([s.first_seen_at - s.first_made_at for s in streams], 0.5),
        age_p50_ms=1000 * percentile(ages, 0.5),
        age_p99_ms=1000 * percentile(ages, 0.99),
        tokens_per_piece=len(ages) / sum(s.pieces for s in streams),
        cpu_us_per_token=None if used is None else 1e6 * used / len(ages),
    )


def shown(row: Row) -> str:
    """One line of the table."""
    cpu = "      -" if row.cpu_us_per_token is None else f"{row.cpu_us_per_token:7.1f}"
    return (
        f"{row.target:<7}{row.streams:>4} streams {row.tokens_per_s:>8.0f} tokens/s"
        f"  first token {row.first_token_ms:7.1f} ms"
        f" ({row.first_lag_ms:6.1f} after it was made)  age p50 {row.age_p50_ms:6.1f} p99 {row.age_p99_ms:6.1f} ms"
        f"  {row.tokens_per_piece:5.1f} tokens a piece  worker CPU {cpu} us/token"
    )


def ratios(rows: list[Row], streams: int) -> list[str]:
    """What the figures are worth beside each other."""
    by = {row.target: row for row in rows if row.streams == streams}
    worker, engine, rival = by["worker"], by["engine"], by.get("rival")
    lines = [f"worker / engine: throughput {worker.tokens_per_s / engine.tokens_per_s:.2f}"]
    if observed := by.get("observed"):
        assert observed.cpu_us_per_token is not None
        assert worker.cpu_us_per_token is not None
        cpu = observed.cpu_us_per_token - worker.cpu_us_per_token
        p50, p99 = observed.age_p50_ms - worker.age_p50_ms, observed.age_p99_ms - worker.age_p99_ms
        lines.append(f"observed - worker: CPU {cpu:+.2f} us/token, age p50 {p50:+.1f} p99 {p99:+.1f} ms")
    if rival:
        lines.append(
            f"worker / rival: throughput {worker.tokens_per_s / rival.tokens_per_s:.2f}, "
            f"first token {worker.first_token_ms / rival.first_token_ms:.2f}"
        )
    return lines
