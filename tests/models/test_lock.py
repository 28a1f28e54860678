"""One download at a time: the lock waits for a live holder and is taken over from a dead one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from worker_vllm.models.lock import DownloadLock, Holder, LockTiming

TIMING = LockTiming(touch_s=0.05, poll_s=0.01, stale_s=60.0, confirm_s=0.0)


def ignore(_: Holder) -> None:
    pass


def held_by(path: Path, host: str, pid: int, age_s: float = 0.0) -> None:
    path.write_text(json.dumps({"host": host, "pid": pid, "token": "other"}))
    touched = path.stat().st_mtime - age_s
    os.utime(path, (touched, touched))


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_lock_is_there_while_held_and_gone_after(tmp_path: Path) -> None:
    """No other file remains."""
    path = tmp_path / "locks" / "model.lock"
    with DownloadLock(path, ignore, TIMING):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(path.parent.iterdir()) == []


def test_a_second_one_waits_until_the_first_is_done(tmp_path: Path) -> None:
    """It receives the holder, and enters when the holder has left."""
    path = tmp_path / "model.lock"
    first, polled = DownloadLock(path, ignore, TIMING), threading.Event()
    holders = []
    order = []

    def waiting(holder: Holder) -> None:
        holders.append(holder)
        polled.set()

    def second() -> None:
        with DownloadLock(path, waiting, TIMING):
            order.append("second")

    with first:
        thread = threading.Thread(target=second)
        thread.start()
        assert polled.wait(5)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
    assert holders[0].pid == os.getpid()


def test_a_dead_process_of_this_host_is_replaced_at_once(tmp_path: Path) -> None:
    """However young its lock is."""
    path = tmp_path / "model.lock"
    held_by(path, socket.gethostname(), ended_process())
    with DownloadLock(path, ignore, TIMING):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_silent_holder_on_another_host_is_replaced_when_its_lock_is_old(tmp_path: Path) -> None:
    """Its process cannot be seen from here; the file's age can."""
    path = tmp_path / "model.lock"
    held_by(path, "another-machine", 1, age_s=61)
    with DownloadLock(path, ignore, TIMING):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_live_holder_on_another_host_is_waited_for(tmp_path: Path) -> None:
    """Young enough: alive."""
    path = tmp_path / "model.lock"
    held_by(path, "another-machine", 1, age_s=30)
    holders = []

    def waiting(holder: Holder) -> None:
        holders.append(holder)
        if len(holders) == 3:
            path.unlink()

    with DownloadLock(path, waiting, TIMING):
        assert [str(holder) for holder in holders] == ["process 1 on another-machine"] * 3


def test_the_holder_keeps_its_lock_young(tmp_path: Path) -> None:
    """It touches the file, so that a long download is not taken over."""
    path = tmp_path / "model.lock"
    with DownloadLock(path, ignore, TIMING) as lock:
        os.utime(path, (1, 1))
        touched = threading.Event()

        def look() -> None:
            while path.stat().st_mtime < 2 and lock is not None:
                touched.wait(0.01)
            touched.set()

        thread = threading.Thread(target=look)
        thread.start()
        assert touched.wait(5)
        thread.join()


def test_a_lock_that_was_taken_away_is_left_alone(tmp_path: Path) -> None:
    """Leaving never removes another worker's lock."""
    path = tmp_path / "model.lock"
    with DownloadLock(path, ignore, TIMING):
        held_by(path, "another-machine", 1)
    assert json.loads(path.read_text())["token"] == "other"
