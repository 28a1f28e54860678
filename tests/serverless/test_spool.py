"""Results that wait for the next start."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from worker_vllm.serverless.spool import Result, Spool

RESULT = Result("job/../1", "http://h/done", b'{"output":["a secret answer\\n"]}', wanted_until=100.0)


def test_what_is_kept_is_found_by_another_process(tmp_path: Path) -> None:
    """Whole and unchanged, whatever the id; until it is forgotten."""
    assert Spool(tmp_path / "spool", clock=lambda: 0.0).keep(RESULT)
    spool = Spool(tmp_path / "spool", clock=lambda: 99.0)
    assert list(spool.left()) == [RESULT]
    spool.forget(RESULT.job_id)
    assert list(spool.left()) == []


def test_files_are_private(tmp_path: Path) -> None:
    """0600 in a 0700 directory, and nothing half-written stays."""
    Spool(tmp_path / "spool").keep(RESULT)
    files = list((tmp_path / "spool").iterdir())
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600]
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


def test_what_nobody_wants_any_more_is_removed(tmp_path: Path) -> None:
    """Past its time, or not a result at all."""
    Spool(tmp_path).keep(RESULT)
    (tmp_path / "broken.result").write_bytes(b"not json")
    assert list(Spool(tmp_path, clock=lambda: 101.0).left()) == []
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_loses_the_result_but_not_the_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has id, size and hash, never the text."""
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.ERROR):
        assert not Spool(tmp_path / "file" / "spool").keep(RESULT)
    assert "job=job/../1 bytes=32 sha256=" in caplog.text
    assert "secret" not in caplog.text
