"""Runs the engine's command and leaves nothing of it behind: no process, no socket, no shared memory.

Run by file path with the bare interpreter, `python -I -S guard.py DIRECTORY GRACE_S COMMAND…`: standard library only.
It sits between worker and engine: only a process that outlives a `kill -9` of the worker can clean up after it.
- standard input is a lifeline held by the worker alone: at its end everything is killed at once;
- SIGTERM ends the engine in order: SIGTERM, GRACE_S seconds, then SIGKILL;
- an inventory of shared memory is kept, taken when some appears and at a byte on the lifeline: what there is is known
  even when all its users die together, and in a file for whoever cleans up after a guard that was killed itself.
As a subreaper it stays the ancestor of every process the engine starts, whatever group or session that moves to.
It ends the way the engine ended: same status, or same signal.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import select
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
KILL_TIMEOUT_S = 5.0  # a process stuck in a driver call must not hold the worker for ever
SHARED_MEMORY = "/dev/shm/"
LOCK = "guard.lock"  # held in the directory as long as this process lives
INVENTORY = "shared-memory"  # in the directory: inode and path of each piece, a line each
LOOK_S = 1.0  # how often the names of shared memory are looked at


class Guard:
    """One engine command and everything it leaves on the machine."""

    def __init__(self, directory: str, grace_s: float) -> None:
        self.directory = directory
        self.grace_s = grace_s
        self.born = time.time()
        self.shared_memory: dict[str, int] = {}
        self.seen: set[str] = set()
        self.leader = 0
        self.status: int | None = None
        self.terminate = False
        self.wakeup, wakeup_writer = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(wakeup_writer, False)
        signal.set_wakeup_fd(wakeup_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_terminate)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _on_terminate(self, *_: object) -> None:
        self.terminate = True

    def start(self, command: list[str]) -> None:
        """Start the engine as the leader of a process group of its own."""
        parent = os.getpid()
        self.leader = os.fork()
        if self.leader:
            return
        try:
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            if os.getppid() == parent:
                os.execvp(command[0], command)
        except OSError as error:
            os.write(2, f"the engine's command could not be started: {command[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(127)

    def watch(self) -> None:
        """Return once the engine ended, the worker is gone, or the worker asked for the end."""
        while self.status is None and not self.terminate:
            if 0 in self._wait(LOOK_S):
                command = os.read(0, 1)
                if not command:
                    self.grace_s = 0.0
                    return
                self.take_inventory()
            elif names := set(made_since(self.born)) - self.seen:
                self.take_inventory()
                self.seen |= names

    def end(self) -> None:
        """End what still runs, in order while the grace lasts, then remove what is left."""
        self.take_inventory()
        deadline = time.monotonic() + self.grace_s
        if self.status is None and self.grace_s > 0:
            os.kill(self.leader, signal.SIGTERM)
            while self.status is None and (left := deadline - time.monotonic()) > 0:
                if 0 in self._wait(left) and not os.read(0, 1):
                    break
        self._kill()
        remove_shared_memory(self.shared_memory)
        remove_directory(self.directory)

    def take_inventory(self) -> None:
        """Remember the shared memory that the engine's processes made and hold now."""
        mapped: set[int] = set()
        for pid in descendants(os.getpid()):
            mapped |= mapped_shared_memory(pid)
        found = {path: inode for path, inode in made_since(self.born).items() if inode in mapped}
        if not found.items() <= self.shared_memory.items():
            self.shared_memory |= found
            note(self.directory, self.shared_memory)

    def _wait(self, timeout_s: float | None) -> list[int]:
        ready, _, _ = select.select([0, self.wakeup], [], [], timeout_s)
        if self.wakeup in ready:
            os.read(self.wakeup, 4096)
        self._reap()
        return ready

    def _reap(self) -> bool:
        """Collect the dead; True while a child is alive."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.leader:
                self.status = status

    def _kill(self) -> None:
        deadline = time.monotonic() + KILL_TIMEOUT_S
        while self._reap() and time.monotonic() < deadline:
            self.take_inventory()
            for pid in descendants(os.getpid()):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if select.select([self.wakeup], [], [], 0.2)[0]:
                os.read(self.wakeup, 4096)


def lock_directory(directory: str) -> None:
    """Lock the directory against being swept up, until this process ends; the engine does not inherit it."""
    path = os.path.join(directory, LOCK)
    try:
        lock = os.open(f"{path}.new", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(f"{path}.new", path)  # nobody sees it unlocked
    except OSError:
        return


def note(directory: str, shared_memory: dict[str, int]) -> None:
    """Write the inventory down; a disk that is full leaves it to this process alone."""
    path = os.path.join(directory, INVENTORY)
    try:
        with open(f"{path}.new", "w") as file:
            file.writelines(f"{inode} {name}\n" for name, inode in shared_memory.items())
        os.rename(f"{path}.new", path)
    except OSError:
        return


def noted(directory: str) -> dict[str, int]:
    """The inventory that a guard has left; empty where there is none."""
    try:
        with open(os.path.join(directory, INVENTORY), errors="replace") as file:
            lines = [line.rstrip("\n").partition(" ") for line in file]
    except OSError:
        return {}
    return {path: int(inode) for inode, _, path in lines if inode.isdecimal()}


def remove_shared_memory(known: dict[str, int]) -> None:
    """Remove pieces of shared memory that are still what they were; a name may have gone to somebody else."""
    there = made_since(0)
    for path, inode in known.items():
        if there.get(path) == inode:
            unlink(path)


def prctl(option: int, argument: int) -> None:
    """Set one attribute of this process; a kernel that refuses leaves the other safeguards."""
    ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0)


def descendants(ancestor: int) -> list[int]:
    """Every living process below `ancestor`, whatever group or session it is in."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            parent = parent_of(int(entry))
            if parent is not None:
                children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    queue = [ancestor]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def parent_of(pid: int) -> int | None:
    """The parent's id, or None for one that is gone or already dead and only waits to be reaped."""
    parent, _, _ = standing(pid) or (None, 0, 0)
    return parent


def standing(pid: int) -> tuple[int, int, int] | None:
    """Parent, process group and session of a living process; None for one that is gone or dead."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent, group, session = file.read().rpartition(b")")[2].split()[:4]
    except (OSError, ValueError):
        return None
    return None if state == b"Z" else (int(parent), int(group), int(session))


def end_session(session: int) -> None:
    """Kill what a guard that was killed itself has left: every process of its session."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (standing(int(entry)) or (0, 0, 0))[2] == session:
            try:
                os.kill(int(entry), signal.SIGKILL)
            except ProcessLookupError:
                continue


def remove_directory(directory: str) -> None:
    """Remove a directory and all that lies in it; what cannot be removed is left."""
    for folder, _, names in os.walk(directory, topdown=False):
        for path in [os.path.join(folder, name) for name in names]:
            unlink(path)
        try:
            os.rmdir(folder)
        except OSError:
            continue


def unlink(path: str) -> None:
    """Remove a file, if it is still there."""
    try:
        os.unlink(path)
    except OSError:
        return


def mapped_shared_memory(pid: int) -> set[int]:
    """Inodes of the shared memory that a process maps; a semaphore's name in the map is not its name on disk."""
    try:
        with open(f"/proc/{pid}/maps", errors="replace") as file:
            return {int(line.split(maxsplit=5)[4]) for line in file if SHARED_MEMORY in line}
    except OSError:
        return set()


def made_since(born: float) -> dict[str, int]:
    """Files of shared memory not older than `born` (seconds since the epoch), with their inodes."""
    try:
        paths = [SHARED_MEMORY + name for name in os.listdir(SHARED_MEMORY)]
    except OSError:
        return {}
    found = {}
    for path in paths:
        try:
            status = os.lstat(path)
        except OSError:
            continue
        if status.st_ctime >= born:
            found[path] = status.st_ino
    return found


def end_like(status: int) -> None:
    """End this process with the engine's status or by the engine's signal."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def main(arguments: list[str]) -> None:
    """Guard one command from start to end."""
    directory, grace_s, *command = arguments
    lock_directory(directory)
    guard = Guard(directory, float(grace_s))
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    guard.start(command)
    guard.watch()
    guard.end()
    end_like(guard.status if guard.status is not None else signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
