"""Runs the engine's command and removes everything it leaves: processes, sockets, shared memory.

Run by file path with the bare interpreter, `python -I -S guard.py DIRECTORY GRACE_S COMMAND…`: standard library only.
It is a process between worker and engine, because it must clean up after a `kill -9` of the worker as well.
- Standard input is a lifeline that only the worker holds: when it closes, the guard kills everything at once.
- SIGTERM stops the engine: SIGTERM, GRACE_S seconds, then SIGKILL.
- It keeps an inventory of shared memory, updated when new files appear and at each byte on the lifeline, because the
  mappings are gone once all users are dead. A file holds it too, for the next launch if the guard itself is killed.
As a subreaper it stays the ancestor of every process the engine starts, whatever group or session that moves to.
It exits as the engine exited: with the same status, or by the same signal.
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
KILL_TIMEOUT_S = 5.0  # a process stuck in a driver call must not block the worker forever
SHARED_MEMORY = "/dev/shm/"
LOCK = "guard.lock"  # a file in the directory, locked until this process exits
INVENTORY = "shared-memory"  # a file in the directory: one line per shared memory file, inode and path
SCAN_S = 1.0  # interval between two listings of /dev/shm


class Guard:
    """One engine command and everything that it creates on the machine."""

    def __init__(self, directory: str, grace_s: float) -> None:
        self.directory = directory
        self.grace_s = grace_s
        self.started_at = time.time()
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
        """Start the engine as the leader of a new process group."""
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
        """Return once the engine exited, the lifeline closed, or SIGTERM arrived."""
        while self.status is None and not self.terminate:
            if 0 in self._wait(SCAN_S):
                command = os.read(0, 1)
                if not command:
                    self.grace_s = 0.0
                    return
                self.take_inventory()
            elif names := set(made_since(self.started_at)) - self.seen:
                self.take_inventory()
                self.seen |= names

    def end(self) -> None:
        """Stop the engine within `grace_s`, kill what still runs, then remove what is left."""
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
        """Add the shared memory files that the engine's processes created and map now."""
        mapped: set[int] = set()
        for pid in descendants(os.getpid()):
            mapped |= mapped_shared_memory(pid)
        found = {path: inode for path, inode in made_since(self.started_at).items() if inode in mapped}
        if not found.items() <= self.shared_memory.items():
            self.shared_memory |= found
            write_inventory(self.directory, self.shared_memory)

    def _wait(self, timeout_s: float | None) -> list[int]:
        ready, _, _ = select.select([0, self.wakeup], [], [], timeout_s)
        if self.wakeup in ready:
            os.read(self.wakeup, 4096)
        self._reap()
        return ready

    def _reap(self) -> bool:
        """Reap exited children; True while a child is alive."""
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
    """Lock the directory until this process exits, so that no other launch removes it; the engine has no lock."""
    path = os.path.join(directory, LOCK)
    try:
        lock = os.open(f"{path}.new", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(f"{path}.new", path)  # visible under its name only once it is locked
    except OSError:
        return


def write_inventory(directory: str, shared_memory: dict[str, int]) -> None:
    """Write the inventory to its file; on a full disk only this process has it."""
    path = os.path.join(directory, INVENTORY)
    try:
        with open(f"{path}.new", "w") as file:
            file.writelines(f"{inode} {name}\n" for name, inode in shared_memory.items())
        os.rename(f"{path}.new", path)
    except OSError:
        return


def read_inventory(directory: str) -> dict[str, int]:
    """The inventory in a guard's directory, inode by path; empty where there is none."""
    try:
        with open(os.path.join(directory, INVENTORY), errors="replace") as file:
            lines = [line.rstrip("\n").partition(" ") for line in file]
    except OSError:
        return {}
    return {path: int(inode) for inode, _, path in lines if inode.isdecimal()}


def remove_shared_memory(known: dict[str, int]) -> None:
    """Remove shared memory files whose inode is unchanged; another process may have taken the name since."""
    present = made_since(0)
    for path, inode in known.items():
        if present.get(path) == inode:
            unlink(path)


def prctl(option: int, argument: int) -> None:
    """Set one attribute of this process; ignores a kernel that refuses."""
    ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0)


def descendants(ancestor: int) -> list[int]:
    """Ids of all live descendants of `ancestor`, whatever group or session they are in."""
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
    """The parent's id; None for a process that has exited, reaped or not."""
    parent, _, _ = read_stat(pid) or (None, 0, 0)
    return parent


def read_stat(pid: int) -> tuple[int, int, int] | None:
    """Parent, process group and session of a live process; None for one that has exited."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent, group, session = file.read().rpartition(b")")[2].split()[:4]
    except (OSError, ValueError):
        return None
    return None if state == b"Z" else (int(parent), int(group), int(session))


def end_session(session: int) -> None:
    """Kill every process of a session; called when its guard was killed."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (read_stat(int(entry)) or (0, 0, 0))[2] == session:
            try:
                os.kill(int(entry), signal.SIGKILL)
            except ProcessLookupError:
                continue


def remove_directory(directory: str) -> None:
    """Remove a directory with its contents; skips what cannot be removed."""
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
    """Inodes of the shared memory that a process maps; by inode, as maps show semaphores under temporary names."""
    try:
        with open(f"/proc/{pid}/maps", errors="replace") as file:
            return {int(line.split(maxsplit=5)[4]) for line in file if SHARED_MEMORY in line}
    except OSError:
        return set()


def made_since(time_s: float) -> dict[str, int]:
    """Shared memory files not older than `time_s` (seconds since the epoch), inode by path."""
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
        if status.st_ctime >= time_s:
            found[path] = status.st_ino
    return found


def end_like(status: int) -> None:
    """Exit with the engine's status, or by the engine's signal."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def main(arguments: list[str]) -> None:
    """Run one command under guard; does not return."""
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
