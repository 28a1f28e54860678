"""The engine's process: spawned without an event loop, adopted, stopped; its log in lines."""

from __future__ import annotations

import os
import signal
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.engines.supervised import ECHO
from worker_vllm.engine.process.child_process import spawn
from worker_vllm.engine.process.guard import SHARED_MEMORY, descendants, write_inventory
from worker_vllm.engine.process.log_tail import LINE_BYTES, LINES, LogTail


async def test_a_killed_guard_takes_the_engine_with_it() -> None:
    """The worker kills and removes what the killed guard left."""
    process = spawn(ECHO, os.environ)
    directory = Path(process.socket).parent
    process.adopt(lambda line: None)
    engine = descendants(process.pid)
    with tempfile.NamedTemporaryFile(prefix="worker-vllm-test-", dir=SHARED_MEMORY, delete=False) as block:
        write_inventory(str(directory), {block.name: os.fstat(block.fileno()).st_ino})
    os.kill(process.pid, signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    assert (directory.exists(), os.path.exists(block.name)) == (False, False)
    assert [pid for pid in engine if Path(f"/proc/{pid}").exists() and pid in descendants(1)] == []


async def test_the_launch_directory_belongs_to_this_user_only() -> None:
    """Mode 0700, a new one for every launch."""
    first, second = spawn(ECHO, os.environ), spawn(ECHO, os.environ)
    assert first.socket != second.socket
    assert Path(first.socket).parent.stat().st_mode & 0o777 == 0o700
    for process in (first, second):
        process.adopt(lambda line: None)
        await process.kill()


@pytest.mark.parametrize("waiting", [False, True])
def test_a_spawn_that_the_system_refuses_leaves_nothing(waiting: bool) -> None:
    """An environment variable above 128 KiB: OSError, no directory of the launch, no open pipe."""
    settings = replace(ECHO, environment={**ECHO.environment, "TOO_LONG": "x" * 200_000})
    before = os.listdir("/proc/self/fd")
    with tempfile.TemporaryDirectory(prefix="w", dir="/tmp") as parent, pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", parent)
        with pytest.raises(OSError, match="Argument list too long"):
            spawn(settings, os.environ, waiting=waiting)
        assert os.listdir(parent) == []
    assert os.listdir("/proc/self/fd") == before


def test_lines_are_assembled_from_any_pieces() -> None:
    """An unfinished last line counts as a line."""
    seen: list[str] = []
    tail = LogTail(seen.append)
    for piece in (b"on", b"e\ntwo\r\n", b"\n", b"gr\xc3", b"\xbc\xc3\x9fe\nlast"):
        tail.feed(piece)
    tail.close()
    assert seen == tail.lines == ["one", "two", "", "grüße", "last"]


def test_the_tail_is_bounded() -> None:
    """The oldest lines are dropped; a long line is split."""
    tail = LogTail()
    tail.feed(b"".join(b"%d\n" % number for number in range(LINES + 5)))
    assert (tail.lines[0], len(tail.lines)) == ("5", LINES)
    tail.feed(b"x" * (2 * LINE_BYTES + 1) + b"\n")
    assert [len(line) for line in tail.lines[-3:]] == [LINE_BYTES, LINE_BYTES, 1]
