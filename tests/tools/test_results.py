"""The committed results are of the checks that exist: no row without its test, each described as the test is now."""

from __future__ import annotations

import json

import pytest

from tests.support.paths import ROOT
from tools.render.results import PLACE, checks

KINDS = ("containers", "deploy", "versions")


@pytest.mark.parametrize("kind", KINDS)
def test_the_results_are_of_these_checks(kind: str) -> None:
    """A renamed or removed check, or another description, needs a new run; what was not run is shown as such."""
    recorded = json.loads((PLACE / f"{kind}.json").read_text())["checks"]
    known = {check for path in sorted((ROOT / "tests" / kind).glob("test_*.py")) for check in checks(path)}
    assert {(row["test"].split("[")[0], row["what"]) for row in recorded} <= known
    assert {row["outcome"] for row in recorded} == {"passed"}
