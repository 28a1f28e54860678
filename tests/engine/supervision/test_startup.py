"""The plan of the engine's first launch: each reason against it becomes the diagnosis for every job."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.engines.supervised import ECHO
from worker_vllm.engine.diagnosis.types import Scope
from worker_vllm.engine.supervision.startup import plan_start


def test_a_spawn_that_fails_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OSError that no check foresees, here a missing directory for temporary files: a refusal, no traceback."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    plan = plan_start(ECHO, os.environ)
    assert plan.process is None
    assert plan.refusal is not None
    assert plan.refusal.scope is Scope.SETTINGS
    assert plan.refusal.sentence.startswith("the engine cannot be spawned: [Errno 2] No such file or directory: ")
    assert "TMPDIR" in plan.refusal.sentence
