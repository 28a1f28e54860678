"""docs/troubleshooting.md has a row for each cause that the worker can name, with its class, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.support.paths import ROOT
from worker_vllm.engine.diagnosis import container_faults, host_faults, settings_faults
from worker_vllm.engine.diagnosis.types import TOO_SLOW, Scope
from worker_vllm.models.hub_client import SETTINGS_CAUSES, Cause

SOURCE = ROOT / "src" / "worker_vllm"
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
CELL = re.compile(r"(`[^*|]*), \*(settings|host|passing)\*")


def rows() -> dict[str, set[str]]:
    """Cause → classes, from the first cells of the tables below `Causes`."""
    found: dict[str, set[str]] = {}
    causes = PAGE.partition("## Causes\n")[2].partition("\n## ")[0]
    for line in causes.splitlines():
        if line.startswith("| `"):
            for names, scope in CELL.findall(line.split(" | ")[0]):
                for name in re.findall(r"`([^`]+)`", names):
                    found.setdefault(name, set()).add(scope)
    return found


def diagnoses() -> Iterator[tuple[str, str]]:
    """Cause and class of each pattern, and of each `Diagnosis` that the source builds with a literal cause."""
    for faults in (container_faults, settings_faults, host_faults):
        yield from ((fault.cause, fault.scope.value) for fault in faults.PATTERNS)
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Diagnosis":
                cause, scope = node.args[:2]
                if isinstance(cause, ast.Constant) and isinstance(scope, ast.Attribute):
                    yield str(cause.value), Scope[scope.attr].value
    yield TOO_SLOW, Scope.HOST.value
    for hub in set(Cause) - SETTINGS_CAUSES:
        yield f"hub: {hub}", (Scope.PASSING if hub is Cause.UNREACHABLE else Scope.HOST).value
    for name in (
        "died",
        "unknown",
        *(f"killed by {signal}" for signal in ("SIGKILL", "SIGILL", "SIGBUS", "SIGSEGV")),
    ):
        yield name, Scope.PASSING.value


def test_every_cause_has_a_row_with_its_class() -> None:
    """And every row is a cause."""
    expected: dict[str, set[str]] = {}
    for cause, scope in diagnoses():
        expected.setdefault(cause, set()).add(scope)
    assert rows() == expected


def test_each_row_says_what_is_seen_what_it_means_and_what_to_do() -> None:
    """Three cells, none empty, in the tables of causes and of requests."""
    tables = PAGE.partition("## Causes\n")[2]
    lines = [line for line in tables.splitlines() if line.startswith(("| `", "| 4"))]
    short = [
        line for line in lines if line.count(" | ") >= 2 and not all(cell.strip() for cell in line.split("|")[1:4])
    ]
    assert short == []
