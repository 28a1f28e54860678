"""The report for a terminal, and the same figures as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from worker_vllm.bench.comparison import Row, Spread, failures, rows
from worker_vllm.bench.load_plan import LoadPlan
from worker_vllm.bench.samples import RoundFigures


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What was measured, of whom, by which generator."""

    names: Sequence[str]
    plan: LoadPlan
    rounds: Sequence[RoundFigures]
    generator: str


def text(report: BenchReport) -> str:
    """A table: a line for each measure, a column for each target, then each later target's ratio to the first."""
    first, *later = report.names
    head = ["", *report.names, *(f"{name} / {first}" for name in later)]
    lines = [head]
    for row in rows(report.names, report.rounds):
        cells = [_spread(row, row.spreads[name]) for name in report.names]
        ratios = [_ratio(row.ratios[name]) for name in later]
        lines.append([f"{row.measure.name} ({row.measure.unit})", *cells, *ratios])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    table = [
        "  ".join(cell.ljust(width) if not column else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]  # fmt: skip
    return "\n".join([*table, "", *_notes(report)])


def _notes(report: BenchReport) -> list[str]:
    count = len(report.rounds) // max(1, len(report.names))
    lines = [f"median of {count} rounds (lowest-highest); requests sent by {report.generator}"]
    for name in report.names:
        failed = failures(report.rounds, name)
        asked = sum(figures.requests for figures in report.rounds if figures.target == name)
        lines.append(f"{name}: {sum(failed.values())} of {asked} requests failed")
        lines += [f"  {number} x {why}" for why, number in sorted(failed.items(), key=lambda one: -one[1])[:5]]
        seen = [figures.cpu_s for figures in report.rounds if figures.target == name and figures.cpu_s]
        if seen:
            processes = sorted({process for cpu in seen for process in cpu})
            shares = (f"{process} {sum(cpu.get(process, 0.0) for cpu in seen):.2f} s" for process in processes)
            lines.append(f"  CPU: {', '.join(shares)}")
    return lines


def as_json(report: BenchReport) -> dict[str, object]:
    """Everything that was measured, with the machine."""
    plan = asdict(report.plan)
    return {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "generator": report.generator,
        "plan": plan,
        "targets": list(report.names),
        "rounds": [asdict(figures) for figures in report.rounds],
        "comparison": [
            {
                "measure": row.measure.name,
                "unit": row.measure.unit,
                "values": {name: None if spread is None else asdict(spread) for name, spread in row.spreads.items()},
                "ratios": {name: None if spread is None else asdict(spread) for name, spread in row.ratios.items()},
            }
            for row in rows(report.names, report.rounds)
        ],
    }


def number(value: float) -> str:
    """Three significant digits, whole numbers from 100 on."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _spread(row: Row, spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{number(spread.median)} ({number(spread.low)}-{number(spread.high)})"


def _ratio(spread: Spread | None) -> str:
    return "-" if spread is None else f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})"
