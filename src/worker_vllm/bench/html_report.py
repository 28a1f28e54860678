"""The report as one HTML file: table and plots, no script, nothing loaded from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence

from worker_vllm.bench.comparison import MEASURES, Measure, Row, Spread, rows
from worker_vllm.bench.samples import RoundFigures
from worker_vllm.bench.text_report import BenchReport, number, text

COLOURS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2")
WIDTH, HEIGHT, LEFT, BOTTOM = 420, 190, 56, 24
PLOTTED = (
    "output tokens/s",
    "first token p50",
    "first token p99",
    "gap p99",
    "latency p99",
    "age p99",
    "CPU a token",
)

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #888; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .3rem .6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } tr + tr { border-top: 1px solid var(--line); }
small { color: var(--soft); } figure { display: inline-block; margin: 1rem 1rem 0 0; }
svg text { font: 11px system-ui, sans-serif; fill: currentColor; } .key { margin-right: 1rem; white-space: nowrap; }
pre { white-space: pre-wrap; }
"""


def page(report: BenchReport, title: str) -> str:
    """The whole file."""
    found = rows(report.names, report.rounds)
    plots = "".join(_plot(report, measure) for measure in MEASURES if measure.name in PLOTTED)
    notes = html.escape(text(report).partition("\n\n")[2])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style><h1>{html.escape(title)}</h1>'
        f"<p>{_key(report.names)}</p>{_table(report.names, found)}{plots}<pre>{notes}</pre></html>\n"
    )


def _key(names: Sequence[str]) -> str:
    return "".join(
        f'<span class="key"><span style="color:{colour(position)}">&#9632;</span> {html.escape(name)}</span>'
        for position, name in enumerate(names)
    )


def colour(position: int) -> str:
    """A target's colour."""
    return COLOURS[position % len(COLOURS)]


def _table(names: Sequence[str], found: Sequence[Row]) -> str:
    first, *later = names
    heads = ["", *names, *(f"{name} / {first}" for name in later)]
    lines = ["<tr>" + "".join(f"<th>{html.escape(head)}</th>" for head in heads) + "</tr>"]
    for row in found:
        cells = [_cell(row.spreads[name], number) for name in names]
        cells += [_cell(row.ratios[name], "{:.2f}".format) for name in later]
        lines.append(f"<tr><td>{row.measure.name} <small>{row.measure.unit}</small></td>{''.join(cells)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _cell(spread: Spread | None, shown: object) -> str:
    if spread is None or not callable(shown):
        return "<td>-</td>"
    return f"<td>{shown(spread.median)} <small>{shown(spread.low)}-{shown(spread.high)}</small></td>"


def _plot(report: BenchReport, measure: Measure) -> str:
    """One measure over the rounds, a line for each target."""
    series = {name: _values(report.rounds, name, measure) for name in report.names}
    top = max((value for points in series.values() for _, value in points), default=0.0) * 1.1
    if not top:
        return ""
    last = max(figures.number for figures in report.rounds)
    lines = "".join(_line(points, colour(at), last, top) for at, points in enumerate(series.values()))
    axes = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{_y(share * top, top)}" y2="{_y(share * top, top)}" stroke="#8884"/>'
        f'<text x="{LEFT - 6}" y="{_y(share * top, top) + 4}" text-anchor="end">{number(share * top)}</text>'
        for share in (0, 0.5, 1)
    )
    rounds = "".join(
        f'<text x="{_x(at, last)}" y="{HEIGHT - 6}" text-anchor="middle">{at}</text>' for at in range(1, last + 1)
    )
    name = f"{measure.name} ({measure.unit}) by round"
    return (
        f"<figure><figcaption>{name}</figcaption>"
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{name}">{axes}{rounds}{lines}</svg></figure>'
    )


def _values(rounds: Sequence[RoundFigures], name: str, measure: Measure) -> list[tuple[int, float]]:
    found = [(one.number, measure.read(one)) for one in rounds if one.target == name]
    return sorted((at, value) for at, value in found if value is not None)


def _line(points: Sequence[tuple[int, float]], stroke: str, last: int, top: float) -> str:
    places = [(_x(at, last), _y(value, top)) for at, value in points]
    path = " ".join(f"{x},{y}" for x, y in places)
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3" fill="{stroke}"/>' for x, y in places)
    return f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="2"/>{dots}'


def _x(at: int, last: int) -> float:
    return round(LEFT + (WIDTH - LEFT - 16) * (at - 0.5) / last, 1)


def _y(value: float, top: float) -> float:
    return round((HEIGHT - BOTTOM) * (1 - value / top) + 6 * value / top, 1)
