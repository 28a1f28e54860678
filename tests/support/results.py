"""The results of a run of checks as a file, from which the documentation's tables are rendered."""

from __future__ import annotations

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

PLACE = ROOT / "docs" / "results"
# Set to 1, the committed file is replaced; otherwise the results go below .cache.
RECORD = "RECORD_RESULTS"


class Results:
    """The checks of one kind: what each proves, its outcome, its time and the figures that it measured."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.facts: dict[str, Any] = {}
        self._checks: dict[str, dict[str, Any]] = {}

    def figure(self, item: pytest.Item, text: str) -> None:
        """A measured value of a check, for its row."""
        self._row(item)["figures"].append(text)

    def outcome(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Take a phase's report; a failed set-up counts as the check's failure. Written when the check is over."""
        row = self._row(item)
        row["seconds"] = round(row["seconds"] + report.duration, 1)
        if report.when == "call" or not report.passed:
            row["outcome"] = "passed" if row["outcome"] in ("", "passed") and report.passed else report.outcome
        if report.when == "teardown" and row["outcome"] != "skipped":
            self.write()

    def write(self) -> Path:
        """Write the file; rows of checks that did not run now stay. The committed one is written on request only."""
        place = PLACE if os.environ.get(RECORD) == "1" else ROOT / ".cache" / "results"
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"{self.kind}.json"
        old = json.loads(path.read_text())["checks"] if path.is_file() else []
        rows = {row["test"]: row for row in (*old, *(row for row in self._checks.values() if row["outcome"]))}
        document = {
            "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
            "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
            **self.facts,
            "checks": [rows[name] for name in sorted(rows)],
        }
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        return path

    def _row(self, item: pytest.Item) -> dict[str, Any]:
        name = item.nodeid.split("/", 1)[1]
        what = (getattr(item, "function", item).__doc__ or "").strip().splitlines()[0]
        start: dict[str, Any] = {"test": name, "what": what, "outcome": "", "seconds": 0.0, "figures": []}
        return self._checks.setdefault(name, start)
