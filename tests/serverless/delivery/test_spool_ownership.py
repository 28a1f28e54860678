"""Which directory of a spool has a live owner: by its lock on one machine, by its file's time across machines."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from worker_vllm.serverless.delivery.spool_ownership import STALE_S, OtherDirectories, WorkerDirectory

LOCK_DIRECTORY = """
import sys, time
from pathlib import Path
from worker_vllm.serverless.delivery.spool_ownership import WorkerDirectory
own = WorkerDirectory(Path(sys.argv[1]))
own.open()
print(own.path, flush=True)
time.sleep(60)
"""


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def other_machine(spool: Path) -> Path:
    """The directory of a worker on another machine, whose lock is not visible here."""
    own = WorkerDirectory(spool)
    own.open()
    owner = own.path / "owner"
    text = json.dumps({**json.loads(owner.read_text()), "boot": "another kernel"})
    own_lock = own._owner
    assert own_lock is not None
    fcntl.flock(own_lock, fcntl.LOCK_UN)
    owner.write_text(text)
    return own.path


def test_a_live_process_of_this_machine_is_known_at_once(tmp_path: Path) -> None:
    """A dead worker is seen at once too, and a frozen one counts as alive."""
    child = subprocess.Popen([sys.executable, "-c", LOCK_DIRECTORY, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    path = Path(child.stdout.readline().strip())
    clock = Clock()
    others, own = OtherDirectories(clock), tmp_path / "worker-me"
    try:
        child.send_signal(signal.SIGSTOP)
        for clock.now in (0.0, 10 * STALE_S):
            assert others.find_dead(tmp_path, own) == []
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert others.find_dead(tmp_path, own) == [path]


def test_one_of_another_machine_is_dead_when_its_file_stands_still(tmp_path: Path) -> None:
    """By this process's own clock, not by the volume's."""
    path, clock = other_machine(tmp_path), Clock()
    others, own = OtherDirectories(clock), tmp_path / "worker-me"
    for beat in range(20):
        clock.now = beat * 20.0
        os.utime(path / "owner", (beat, beat))
        assert others.find_dead(tmp_path, own) == []
    began = clock.now
    for clock.now in (began + 20, began + STALE_S):
        assert others.find_dead(tmp_path, own) == []
    clock.now = began + STALE_S + 1
    assert others.find_dead(tmp_path, own) == [path]


@pytest.mark.parametrize("text", ["", "not json", "[]"])
def test_an_unreadable_record_counts_as_another_machines(tmp_path: Path, text: str) -> None:
    """Its time must stand still, too."""
    path, clock = other_machine(tmp_path), Clock()
    (path / "owner").write_text(text)
    others = OtherDirectories(clock)
    assert others.find_dead(tmp_path, tmp_path / "worker-me") == []
    clock.now = STALE_S + 1
    assert others.find_dead(tmp_path, tmp_path / "worker-me") == [path]


def test_what_is_no_workers_directory_is_left_alone(tmp_path: Path) -> None:
    """Links are not followed, drafts are not looked at."""
    (tmp_path / "else").mkdir()
    (tmp_path / "worker-link").symlink_to(tmp_path / "else")
    (tmp_path / ".worker-draft").mkdir()
    (tmp_path / "worker-file").touch()
    assert OtherDirectories(lambda: 1e9).find_dead(tmp_path, tmp_path / "worker-me") == []
