"""The committed results are of the checks that exist: no row without its test, no test without its row."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

RESULTS = ROOT / "docs" / "results"
# Kind of result → the files with its checks.
CHECKS = {
    "containers": sorted((ROOT / "tests" / "containers").glob("test_*.py")),
    "deploy": sorted((ROOT / "tests" / "deploy").glob("test_*.py")),
    "versions": [ROOT / "tests" / "versions" / "test_versions.py"],
}


def checks(path: Path) -> Iterator[tuple[str, str]]:
    """Each test of a file as results name it, and the first line of its docstring."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            name = path.relative_to(ROOT / "tests").as_posix()
            yield f"{name}::{node.name}", (ast.get_docstring(node) or "").splitlines()[0]


@pytest.mark.parametrize("kind", CHECKS)
def test_the_results_are_of_these_checks(kind: str) -> None:
    """A renamed, new or removed check, or another description, needs a new run."""
    if not (RESULTS / f"{kind}.json").is_file():
        pytest.skip(
            f"not recorded yet: RECORD_RESULTS=1 make test-{'versions' if kind == 'versions' else 'containers'}"
        )
    recorded = json.loads((RESULTS / f"{kind}.json").read_text())["checks"]
    found = {(row["test"].split("[")[0], row["what"]) for row in recorded}
    assert found == {check for path in CHECKS[kind] for check in checks(path)}
    assert {row["outcome"] for row in recorded} == {"passed"}
