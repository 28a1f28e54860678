"""The directory of one launch: made fresh for its socket and temporary files, and removed although nobody could.

Its guard removes it, whatever happens to worker and engine. Only when guard and worker are killed in one go, as when
a container's supervisor ends everything at once, does it stay, and the next launch of the same user sweeps it up,
with the processes that outlived them (vLLM's engine core does not notice that its server is gone) and the shared
memory that its guard has noted.
What proves that its owner is dead is the kernel: a living guard holds a lock on `guard.lock` in it, across containers
that share the place as well.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import tempfile
import time
from pathlib import Path

from worker_vllm.engine.process.guard import LOCK, noted, remove_directory, remove_shared_memory

PREFIX = "worker-vllm-"
# A socket's path may have 107 bytes; vLLM puts sockets with 36-byte names beside ours.
LONGEST_DIRECTORY = 107 - 1 - 36
OWNER = "VLLM_RPC_BASE_PATH"  # names the directory in the environment of every process of its launch
# Until its guard has put the lock there, in its first milliseconds, a directory is empty.
EMPTY_S = 600.0


def fresh_directory() -> str:
    """A new directory, mode 0700, whose path leaves room for a socket's name; sweeps up dead ones beside it."""
    path = tempfile.mkdtemp(prefix=PREFIX)
    if len(path.encode()) > LONGEST_DIRECTORY:
        os.rmdir(path)
        path = tempfile.mkdtemp(prefix=PREFIX, dir="/tmp")
    sweep(os.path.dirname(path), os.geteuid(), time.time())
    return path


def sweep(parent: str, user: int, now: float) -> None:
    """Remove the user's directories whose guards are dead. `now` is in seconds since the epoch."""
    with os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and belongs_to(user, entry):
                sweep_one(entry.path, now)


def belongs_to(user: int, entry: os.DirEntry[str]) -> bool:
    """Whether it is a directory, no link to one, and the user's."""
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == user


def sweep_one(directory: str, now: float) -> None:
    """Remove one directory if its guard is dead."""
    try:
        lock = os.open(f"{directory}/{LOCK}", os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        remove_if_abandoned(directory, now)
        return
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # a living guard holds it, or this file system has no locks
        return
    else:
        remove_remains(directory)
    finally:
        os.close(lock)


def remove_remains(directory: str) -> None:
    """End and remove what a launch has left whose guard is dead: its processes, its shared memory, its directory."""
    end_processes(directory)
    remove_shared_memory(noted(directory))
    remove_directory(directory)


def end_processes(directory: str) -> None:
    """Kill what still runs of the directory's launch; its environment tells, which only its user may read."""
    mark = f"{OWNER}={directory}".encode()
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and mark in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                os.kill(int(entry), signal.SIGKILL)
        except OSError:  # gone, or not ours
            continue


def remove_if_abandoned(directory: str, now: float) -> None:
    """Remove one that never got a guard: empty, and long since."""
    try:
        if now - os.stat(directory).st_mtime > EMPTY_S:
            os.rmdir(directory)
    except OSError:  # not empty, or gone
        return
