"""The directory of one launch, for the engine's socket and temporary files; the next launch removes stale ones.

The guard removes its directory, whatever happens to worker and engine. Only when guard and worker are killed at the
same time, as when a container's supervisor kills everything, does it stay. Then the next launch of the same user
removes it, together with the processes that survived (vLLM's engine core does not notice that its server exited) and
the shared memory in the guard's inventory.
A live guard holds a lock on the directory's `guard.lock`; the kernel keeps it across containers that share the place.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import tempfile
import time
from pathlib import Path

from worker_vllm.engine.process.guard import LOCK, read_inventory, remove_directory, remove_shared_memory

PREFIX = "worker-vllm-"
# A socket's path may have 107 bytes; vLLM puts sockets with 36-byte names beside ours.
LONGEST_DIRECTORY = 107 - 1 - 36
OWNER = "VLLM_RPC_BASE_PATH"  # set to the directory in the environment of every process of its launch
# A directory is empty until its guard has created the lock, in its first milliseconds.
EMPTY_S = 600.0


def fresh_directory() -> str:
    """Create a directory, mode 0700, whose path leaves room for a socket's name; removes stale ones beside it."""
    path = tempfile.mkdtemp(prefix=PREFIX)
    if len(path.encode()) > LONGEST_DIRECTORY:
        os.rmdir(path)
        path = tempfile.mkdtemp(prefix=PREFIX, dir="/tmp")
    sweep(os.path.dirname(path), os.geteuid(), time.time())
    return path


def sweep(parent: str, user: int, now: float) -> None:
    """Remove the stale launch directories of `user` below `parent`. `now` is in seconds since the epoch."""
    with os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and belongs_to(user, entry):
                remove_if_stale(entry.path, now)


def belongs_to(user: int, entry: os.DirEntry[str]) -> bool:
    """Whether the entry is a directory of the user, not a link to one."""
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == user


def remove_if_stale(directory: str, now: float) -> None:
    """Remove one directory if its guard has exited."""
    try:
        lock = os.open(f"{directory}/{LOCK}", os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        remove_if_abandoned(directory, now)
        return
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # a live guard holds the lock, or this file system has no locks
        return
    else:
        remove_remains(directory)
    finally:
        os.close(lock)


def remove_remains(directory: str) -> None:
    """Remove what a launch without a live guard has left: its processes, its shared memory, its directory."""
    end_processes(directory)
    remove_shared_memory(read_inventory(directory))
    remove_directory(directory)


def end_processes(directory: str) -> None:
    """Kill the processes that have this directory in their environment."""
    mark = f"{OWNER}={directory}".encode()
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and mark in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                os.kill(int(entry), signal.SIGKILL)
        except OSError:  # it has exited, or belongs to another user
            continue


def remove_if_abandoned(directory: str, now: float) -> None:
    """Remove a directory that never got a guard: one that has been empty for EMPTY_S."""
    try:
        if now - os.stat(directory).st_mtime > EMPTY_S:
            os.rmdir(directory)
    except OSError:  # not empty, or removed already
        return
