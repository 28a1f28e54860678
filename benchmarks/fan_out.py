"""Many streams at once: throughput, the first token, the age of tokens when they arrive, the worker's CPU and memory.

The engine steps all streams together and writes the time into each token. Each target has an engine of its own; the
engine read directly, this worker and the original take turns in one run, so that their ratios hold on any machine.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import uvloop

from benchmarks.goals import Goal, goals_table
from benchmarks.light_streams import LightGenerator
from benchmarks.record import Report, Table, add_output, deliver, original_version
from benchmarks.stacks import ENGINE, ORIGINAL, QUEUE, Running, engine_alone, original_over_echo, queue_over_echo
from tests.support.http_mode import free_port
from tests.support.observed import SpanCollector
from worker_vllm.bench.load_plan import LoadPlan
from worker_vllm.bench.progress_line import ProgressLine
from worker_vllm.bench.rounds import Schedule, Site, measure
from worker_vllm.bench.samples import RoundFigures, Sample, percentiles
from worker_vllm.bench.targets import BenchTarget
from worker_vllm.bench.visible_processes import listeners
from worker_vllm.simulation.arrivals import FixedLength

OBSERVED = "observed"
SILENT = {"LOG_LEVEL": "WARNING"}
WARM = 8  # streams before the first round


@dataclass(frozen=True, slots=True)
class Row:
    """One round at one target."""

    target: str
    streams: int
    round: int
    tokens_per_s: float
    first_token_ms: float  # from the request
    first_age_ms: float  # from the moment the engine made it
    age_p50_ms: float
    age_p99_ms: float
    tokens_per_piece: float
    cpu_us_per_token: float | None  # of the worker alone
    peak_mb: float | None  # of the worker, since its start
    cpu_s: Mapping[str, float]  # of every process


class Watched(Site):
    """Knows the processes of every target, and notes the worker's largest memory after each round."""

    def __init__(self, targets: Sequence[Running]) -> None:
        self._running = {one.target.name: one for one in targets}
        self.peak_mb: dict[tuple[str, int], float] = {}

    async def enter(self, target: BenchTarget) -> list[int]:
        """The gateway that listens, the worker and the engine."""
        gateway = [] if target.socket else listeners(target)
        return [*gateway, *(process.pid for process in self._running[target.name].processes)]

    async def leave(self, target: BenchTarget, round_number: int) -> None:
        """The worker is the first of the processes, where there is one."""
        one = self._running[target.name]
        if one.worker:
            self.peak_mb[target.name, round_number] = peak_mb(one.processes[0].pid)


def peak_mb(pid: int) -> float:
    """The largest resident memory that a process has had."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fan_out", description=__doc__)
    parser.add_argument("--streams", type=counts, default=counts("1,128"), help="comma-separated (default 1,128)")
    parser.add_argument("--tokens", type=int, default=300, help="of each stream")
    parser.add_argument("--step-ms", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--observed", action="store_true", help="two workers take turns: with lines, metrics and traces, and without"
    )
    parser.add_argument("--original", type=Path, metavar="DIR", help="the original worker, by benchmarks/original.sh")
    add_output(parser)
    given = parser.parse_args()
    with contextlib.ExitStack() as parts:
        targets = [parts.enter_context(one) for one in chosen(given)]
        rows = uvloop.run(play(targets, given))
    names = [one.target.name for one in targets]
    tables = [figures_table(rows, names, given.streams), *ratio_tables(rows, names, given.streams)]
    tables += goals_table(goals(rows))
    deliver(Report("fan_out", tables, [asdict(row) for row in rows], original_version(given.original)), given)


def counts(given: str) -> list[int]:
    """Numbers of streams, ascending, so that the memory's peak belongs to the largest number so far."""
    return sorted(int(one) for one in given.split(","))


def chosen(given: argparse.Namespace) -> list[contextlib.AbstractContextManager[Running]]:
    """The targets of the command line, not yet started."""
    found: list[contextlib.AbstractContextManager[Running]] = [engine_alone(given.step_ms)]
    found.append(queue_over_echo(given.step_ms, more=SILENT if given.observed else None))
    if given.observed:
        found.append(observed_worker(given.step_ms))
    if given.original:
        found.append(original_over_echo(given.original.resolve(), given.step_ms))
    return found


@contextlib.contextmanager
def observed_worker(step_ms: float) -> Iterator[Running]:
    """A worker that writes lines, serves metrics, and exports the spans of every job to a collector here."""
    with SpanCollector().serving() as collector:
        everything = {
            "LOG_FORMAT": "json",
            "METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        }
        with queue_over_echo(step_ms, OBSERVED, everything) as worker:
            yield worker


def plan(streams: int, tokens: int) -> LoadPlan:
    """So many streams of so many tokens, started together."""
    return LoadPlan(streams, streams, None, FixedLength(1), FixedLength(tokens), chat=False, ignore_eos=True)


async def play(targets: Sequence[Running], given: argparse.Namespace) -> list[Row]:
    """Every load at every target, in turns."""
    workers = {one.target.name: one.worker for one in targets}
    asked = [one.target for one in targets]
    progress, generator, rows = ProgressLine(sys.stderr), LightGenerator(), list[Row]()
    for target in asked:
        await generator.send(target, plan(WARM, 20), 0)
    for streams in given.streams:
        site = Watched(targets)
        rounds = await measure(
            asked, plan(streams, given.tokens), Schedule(given.rounds, 0, site), generator, progress
        )
        for figures in rounds:
            key = figures.target, figures.number
            rows.append(row(figures, generator.samples[key], workers[figures.target], site.peak_mb.get(key)))
    progress.close()
    return rows


def row(figures: RoundFigures, samples: Sequence[Sample], worker: str, peak: float | None) -> Row:
    """The figures of a round. Raises RuntimeError where a stream failed: a figure of fewer streams is another one."""
    if figures.failures or figures.age is None:
        raise RuntimeError(f"{figures.target}, {figures.requests} streams: {figures.failures or 'no stamped token'}")
    tokens = sum(len(sample.ages) for sample in samples)
    return Row(
        target=figures.target,
        streams=figures.requests,
        round=figures.number,
        tokens_per_s=tokens / figures.wall_s,
        first_token_ms=1000 * figures.first_token.p50,
        first_age_ms=1000 * percentiles([sample.ages[0] for sample in samples]).p50,
        age_p50_ms=1000 * figures.age.p50,
        age_p99_ms=1000 * figures.age.p99,
        tokens_per_piece=tokens / sum(len(sample.gaps) + 1 for sample in samples),
        cpu_us_per_token=1e6 * figures.cpu_s[worker] / tokens if worker in figures.cpu_s else None,
        peak_mb=peak,
        cpu_s=figures.cpu_s,
    )


HEAD = (
    *("streams", "target", "worker CPU a token", "tokens/s", "× its engine's own", "first token p50"),
    *("first token's age p50", "age p50", "age p99", "tokens a piece", "worker's peak memory"),
)


def figures_table(rows: Sequence[Row], names: Sequence[str], loads: Sequence[int]) -> Table:
    """The median of each figure over the rounds."""
    lines = []
    for streams in loads:
        for name in names:
            of = by(rows, name, streams)
            beside = zip(of, by(rows, ENGINE, streams), strict=True)
            own = [one.tokens_per_s / engine.tokens_per_s for one, engine in beside]
            cells = [
                middle([one.cpu_us_per_token for one in of], "{:.1f} µs"),
                middle([one.tokens_per_s for one in of], "{:.0f}"),
                middle(own, "{:.2f}"),
                middle([one.first_token_ms for one in of], "{:.1f} ms"),
                middle([one.first_age_ms for one in of], "{:.1f} ms"),
                middle([one.age_p50_ms for one in of], "{:.1f} ms"),
                middle([one.age_p99_ms for one in of], "{:.1f} ms"),
                middle([one.tokens_per_piece for one in of], "{:.1f}"),
                middle([one.peak_mb for one in of], "{:.0f} MB"),
            ]
            lines.append([str(streams), name, *cells])
    return Table(f"Medians of {max(row.round for row in rows)} rounds", HEAD, lines)


def by(rows: Sequence[Row], name: str, streams: int) -> list[Row]:
    """The rounds of one load at one target, in order."""
    return sorted((row for row in rows if (row.target, row.streams) == (name, streams)), key=lambda row: row.round)


def middle(values: Sequence[float | None], form: str) -> str:
    """The median, a dash where nothing was measured."""
    known = [value for value in values if value is not None]
    return form.format(median(known)) if known else "-"


def ratio_tables(rows: Sequence[Row], names: Sequence[str], loads: Sequence[int]) -> list[Table]:
    """This worker beside each other worker: the ratio of each round's figures, its median, lowest and highest."""
    tables = []
    for rival in (name for name in names if name in (ORIGINAL, OBSERVED)):
        lines = []
        for streams in loads:
            pairs = list(zip(by(rows, QUEUE, streams), by(rows, rival, streams), strict=True))
            lines.append([str(streams), *(ratio(pairs, name) for name in RATIOS)])
        tables.append(Table(f"{QUEUE} / {rival}: median (lowest-highest)", ["streams", *RATIOS.values()], lines))
    return tables


RATIOS = {
    "cpu_us_per_token": "worker CPU a token",
    "tokens_per_s": "tokens/s",
    "first_token_ms": "first token p50",
    "age_p50_ms": "age p50",
    "age_p99_ms": "age p99",
    "peak_mb": "worker's peak memory",
}


def ratios(pairs: Sequence[tuple[Row, Row]], name: str) -> list[float]:
    """One figure of a round over that of the other target's round."""
    values = [(getattr(ours, name), getattr(theirs, name)) for ours, theirs in pairs]
    return [a / b for a, b in values if a is not None and b]


def ratio(pairs: Sequence[tuple[Row, Row]], name: str) -> str:
    """The ratios of one figure: median, lowest and highest."""
    known = ratios(pairs, name)
    return f"{median(known):.2f} ({min(known):.2f}-{max(known):.2f})" if known else "-"


def goals(rows: Sequence[Row]) -> list[Goal]:
    """What this worker is held against; those whose load or rival was not measured have no values."""
    found = []
    for streams in (128, 256):
        ours = by(rows, QUEUE, streams)
        beside = list(zip(ours, by(rows, ORIGINAL, streams), strict=False))
        bounds = (("cpu_us_per_token", 0.55), ("age_p99_ms", 0.6), ("first_token_ms", 0.6))
        found += [
            Goal(f"{streams} streams: {RATIOS[name]} / {ORIGINAL}", bound, ratios(beside, name))
            for name, bound in bounds
        ]
        own = ratios(list(zip(ours, by(rows, ENGINE, streams), strict=True)), "tokens_per_s")
        found.append(Goal(f"{streams} streams: tokens/s / engine", 0.95, own, at_least=True))
    alone = zip(by(rows, QUEUE, 1), by(rows, ENGINE, 1), strict=True)
    later = [ours.first_age_ms - engine.first_age_ms for ours, engine in alone]
    found.append(Goal("1 stream: first token later than the engine's own", 3, later, unit="ms"))
    peaks = [row.peak_mb for row in by(rows, QUEUE, 512) if row.peak_mb is not None]
    found.append(Goal("512 streams: worker's peak memory", 100, peaks, unit="MB"))
    return found
