"""Results that wait for the next start."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from worker_vllm.serverless.delivery.result_spool import JobResult, ResultSpool

ENDPOINT = "http://h/v2/ep"
RESULT = JobResult(
    "job/../1", f"{ENDPOINT}/job-done/w/1", (b'{"output":["a secret answer\\n"]}',), wanted_until=100.0
)


def found(spool: ResultSpool) -> list[JobResult | None]:
    """What this process takes over now."""
    return [spool.read(path) for path in spool.claim(ENDPOINT)]


def kept_files(place: Path) -> list[str]:
    """Every spooled result below `place`, by its directory's kind."""
    return sorted(path.parent.name.partition("-")[0] for path in place.rglob("*.result"))


def test_a_saved_result_is_found_by_another_process(tmp_path: Path) -> None:
    """Complete and unchanged, whatever the id; by one of them; until it is removed."""
    assert ResultSpool(tmp_path / "spool", clock=lambda: 0.0).save_shared(RESULT)
    spool, other = (ResultSpool(tmp_path / "spool", clock=lambda: 99.0) for _ in range(2))
    assert found(spool) == [RESULT]
    assert found(other) == []
    spool.remove(RESULT.job_id)
    assert kept_files(tmp_path) == []


def test_the_results_of_a_live_process_are_not_taken_over(tmp_path: Path) -> None:
    """Until it is dead, or gives it up; then one other gets it."""
    live, other = (ResultSpool(tmp_path, clock=lambda: 99.0) for _ in range(2))
    assert live.save_owned(RESULT)
    assert found(other) == []
    live.release()
    assert kept_files(tmp_path) == [tmp_path.name.partition("-")[0]]
    assert found(other) == [RESULT]
    assert found(live) == []


def test_an_owned_result_is_handed_over_once(tmp_path: Path) -> None:
    """At the end of the process there is one file, which any worker may take."""
    spool = ResultSpool(tmp_path / "spool")
    spool.save_owned(RESULT)
    spool.save_shared(RESULT)
    assert kept_files(tmp_path) == ["spool"]


def test_files_are_private(tmp_path: Path) -> None:
    """0600 in a 0700 directory, and nothing half-written stays."""
    ResultSpool(tmp_path / "spool").save_shared(RESULT)
    ResultSpool(tmp_path / "owned").save_owned(RESULT)
    for place in ("spool", "owned"):
        paths = [tmp_path / place, *(tmp_path / place).rglob("*")]
        modes = {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_dir()}
        assert modes == {0o700}
        assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()} == {0o600}
        assert not [path for path in paths if path.suffix == ".draft"]


FAILURE_BACKOFF = {
    "not json": b"not json",
    "no address": b'{"job": "a", "wanted_until": 200}\n{}',
    "a broken host": b'{"job": "a", "url": "http://[::1/job-done/w/a", "wanted_until": 200}\n{}',
    "a broken port": b'{"job": "a", "url": "http://h:x/job-done/w/a", "wanted_until": 200}\n{}',
    "no time": b'{"job": "a", "url": "http://h/job-done/w/a", "wanted_until": NaN}\n{}',
}


@pytest.mark.parametrize("text", FAILURE_BACKOFF.values(), ids=FAILURE_BACKOFF)
def test_an_unreadable_result_is_removed_with_a_reason(
    text: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of it ends the worker."""
    (tmp_path / "broken.result").write_bytes(text)
    with caplog.at_level(logging.WARNING):
        assert found(ResultSpool(tmp_path, clock=lambda: 101.0)) == []
    assert list(tmp_path.iterdir()) == []
    assert "spooled result removed: broken.result reason=" in caplog.text


def test_an_expired_result_is_removed(tmp_path: Path) -> None:
    """No client can fetch it any more."""
    ResultSpool(tmp_path).save_shared(RESULT)
    assert found(ResultSpool(tmp_path, clock=lambda: 101.0)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_loses_the_result_but_not_the_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has id, size and hash, never the text."""
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.ERROR):
        assert not ResultSpool(tmp_path / "file" / "spool").save_shared(RESULT)
    assert "job=job/../1 bytes=32 sha256=" in caplog.text
    assert "secret" not in caplog.text
