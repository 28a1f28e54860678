"""A launch's directory: fresh, short enough for a socket, and swept up by the next one when its guard was killed."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker_vllm.engine.process.child_process import GUARD
from worker_vllm.engine.process.command import child_environment
from worker_vllm.engine.process.guard import INVENTORY, LOCK, SHARED_MEMORY
from worker_vllm.engine.process.launch_directory import EMPTY_S, fresh_directory, sweep
from worker_vllm.settings.types import EngineSettings

US = os.geteuid()
# Its helper outlives it, as vLLM's engine core does, and so does its shared memory.
ENGINE = """
import subprocess, sys, time
from multiprocessing.shared_memory import SharedMemory
block = SharedMemory(create=True, size=1 << 20)
open(sys.argv[1] + "/engine.sock", "w").close()
print(subprocess.Popen(["sleep", "60"]).pid, block.name, flush=True)
time.sleep(60)
"""


class Guarded:
    """A guard over an engine that has made its socket in the directory, and started a helper."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        command = [sys.executable, "-I", "-S", str(GUARD), str(directory), "0", sys.executable, "-c", ENGINE]
        self.process = subprocess.Popen(
            [*command, str(directory)],
            env=child_environment(EngineSettings(), os.environ, str(directory)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self.process.stdout is not None
        helper, block = self.process.stdout.readline().decode().split()
        self.helper = os.pidfd_open(int(helper))
        self.block = Path(SHARED_MEMORY, block)
        self.inventory = directory / INVENTORY

    def wait_for_inventory(self) -> None:
        """Wait until the guard has listed the engine's shared memory without a request."""
        deadline = time.monotonic() + 8
        while not (self.inventory.exists() and str(self.block) in self.inventory.read_text()):
            assert time.monotonic() < deadline
            os.sched_yield()

    def helper_ended(self, within_s: float) -> bool:
        """Whether the helper exits within this time."""
        return bool(select.select([self.helper], [], [], within_s)[0])


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    """A running guard with the directory `worker-vllm-x`."""
    started = Guarded(tmp_path / "worker-vllm-x")
    with started.process as process:
        yield started
        process.kill()
    os.close(started.helper)


def test_what_a_killed_guard_and_a_killed_worker_left_is_removed(tmp_path: Path, guarded: Guarded) -> None:
    """Files and processes, and only once the guard has exited."""
    sweep(str(tmp_path), US, time.time() + 2 * EMPTY_S)
    assert {path.name for path in (tmp_path / "worker-vllm-x").iterdir()} >= {"engine.sock", LOCK}
    guarded.wait_for_inventory()
    guarded.process.kill()
    guarded.process.wait()
    assert not guarded.helper_ended(0)
    sweep(str(tmp_path), US, time.time())
    assert guarded.helper_ended(5)
    assert list(tmp_path.iterdir()) == []
    assert not guarded.block.exists()


def test_shared_memory_is_removed_only_where_it_is_in_the_inventory(tmp_path: Path) -> None:
    """By its inode, as another process may have taken the name; never a path outside of shared memory."""
    dead = tmp_path / "worker-vllm-dead"
    dead.mkdir()
    (dead / LOCK).touch()
    other = tmp_path / "other"
    other.touch()
    with tempfile.NamedTemporaryFile(prefix="worker-vllm-test-", dir=SHARED_MEMORY) as block:
        inode = os.fstat(block.fileno()).st_ino
        lines = [f"{inode + 1} {block.name}", f"{other.stat().st_ino} {other}", f"7 {SHARED_MEMORY}gone", "x"]
        lines.append(f"{other.stat().st_ino} {SHARED_MEMORY}../..{other}")
        (dead / INVENTORY).write_text("\n".join(lines))
        sweep(str(tmp_path), US, time.time())
        assert (Path(block.name).exists(), other.exists(), dead.exists()) == (True, True, False)


def test_a_new_launch_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new launch removes stale directories and keeps its own."""
    with tempfile.TemporaryDirectory(prefix="w", dir="/tmp") as parent:  # short enough to be taken
        dead = Path(parent, "worker-vllm-dead")
        dead.mkdir()
        (dead / LOCK).touch()
        monkeypatch.setattr("tempfile.tempdir", parent)
        made = fresh_directory()
        assert [str(path) for path in Path(parent).iterdir()] == [made]


@pytest.mark.parametrize("age_s", [0.0, 2 * EMPTY_S])
def test_only_stale_directories_of_this_user_are_removed(tmp_path: Path, age_s: float) -> None:
    """Not another user's, another name, a link, or one without a lock, at any age."""
    other = tmp_path / "worker-vllm-other"
    for name in ("worker-vllm-other", "engine-x", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / LOCK).touch()
    (tmp_path / "worker-vllm-link").symlink_to(tmp_path / "target")
    (tmp_path / "worker-vllm-file").touch()
    unlocked = tmp_path / "worker-vllm-unlocked"
    unlocked.mkdir()
    (unlocked / "engine.sock").touch()
    everything = sorted(tmp_path.rglob("*"))
    sweep(str(tmp_path), US + 1, time.time() + age_s)
    assert sorted(tmp_path.rglob("*")) == everything
    sweep(str(tmp_path), US, time.time() + age_s)
    gone = {other, other / LOCK}
    assert sorted(tmp_path.rglob("*")) == [path for path in everything if path not in gone]


def test_an_empty_directory_is_kept_until_its_guard_can_have_started(tmp_path: Path) -> None:
    """A guard starts within milliseconds; a directory that is empty after ten minutes has none."""
    empty = tmp_path / "worker-vllm-empty"
    empty.mkdir()
    sweep(str(tmp_path), US, time.time())
    assert empty.exists()
    sweep(str(tmp_path), US, time.time() + 2 * EMPTY_S)
    assert not empty.exists()


def test_a_long_temporary_path_is_avoided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's path has at most 107 bytes."""
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    made = fresh_directory()
    os.rmdir(made)
    assert made.startswith("/tmp/worker-vllm-")
    assert list(long.iterdir()) == []
