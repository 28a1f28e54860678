"""The file of earlier starts: bounded, whole, and never the reason of a failed start."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from worker_vllm.engine.records.start_history import MAX_BYTES, MAX_STARTS, append, history_file, read_history
from worker_vllm.engine.records.start_receipt import RecordedStart

START = RecordedStart("org_m/0.32.0/cpu", 100.0, 12.5, "hub", "built")


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    """In order; beside the cache directory, not in it."""
    path = history_file(str(tmp_path / "cache" / "cpu"))
    assert path == tmp_path / "cache" / "cpu.starts.json"
    append(path, [], START)
    append(path, read_history(path), replace(START, total_s=3))
    assert read_history(path) == [START, replace(START, total_s=3)]
    assert [each.name for each in path.parent.iterdir()] == ["cpu.starts.json"]


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    """By number, and by size whatever the names are."""
    path = tmp_path / "starts.json"
    append(path, [replace(START, at=float(number)) for number in range(100)], START)
    assert [start.at for start in read_history(path)] == [*map(float, range(100 - MAX_STARTS + 1, 100)), 100.0]
    append(path, [replace(START, key="k" * 5000)] * MAX_STARTS, START)
    assert path.stat().st_size <= MAX_BYTES
    assert read_history(path)[-1] == START


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"{}",
        b"\xff\xfe",
        json.dumps([1, None, {}, {**asdict(START), "more": 1}, {**asdict(START), "total_s": "1"}]).encode(),
        b" " * (MAX_BYTES + 1),
    ],
)
def test_a_damaged_file_counts_as_nothing_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    """No start fails for it."""
    path = tmp_path / "starts.json"
    path.write_bytes(content)
    assert read_history(path) == []
    append(path, [], START)
    assert read_history(path) == [START]


def test_a_place_that_cannot_be_written_to_costs_the_history_alone(tmp_path: Path) -> None:
    """Nothing is raised."""
    (tmp_path / "file").write_text("")
    append(tmp_path / "file" / "starts.json", [], START)
    assert read_history(tmp_path / "file" / "starts.json") == []
