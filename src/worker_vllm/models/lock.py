"""A lock for one download at a time on a shared volume: a file with a heartbeat, taken over when that stops.

Workers on different machines share a network volume, on which flock may grant the lock to every caller. Here the lock
is a file that only one worker can create; its holder touches it every few seconds. A holder that died leaves a file
whose age grows, and the next worker takes it over. Ages are compared by the volume's own clock. If two workers ever
held it, both downloads would still succeed: huggingface_hub moves each complete file into place.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class LockTiming:
    """How often the lock is touched and polled, and when it counts as abandoned, in seconds."""

    touch_s: float = 5.0
    poll_s: float = 1.0
    stale_s: float = 30.0
    confirm_s: float = 1.0  # between a take-over and the check that it succeeded


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds the lock."""

    host: str
    pid: int
    token: str

    @classmethod
    def current(cls) -> Holder:
        """This process."""
        return cls(socket.gethostname(), os.getpid(), secrets.token_hex(8))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_dead(self) -> bool:
        """Whether it was a process of this host that no longer exists; False when that is unknown."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class DownloadLock:
    """A context manager: within it only this process downloads. `waiting` receives the holder at each poll."""

    def __init__(self, path: Path, waiting: Callable[[Holder], None], timing: LockTiming = LockTiming()) -> None:
        self._path = path
        self._waiting = waiting
        self._timing = timing
        self._me = Holder.current()
        self._done = threading.Event()
        self._heartbeat = threading.Thread(target=self._keep_alive, daemon=True, name="download-lock")

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while not self._create():
            holder = self._holder()
            if holder is not None and (holder.is_dead or self._age_s() > self._timing.stale_s):
                if self._take_over():
                    break
            elif holder is not None:
                self._waiting(holder)
                time.sleep(self._timing.poll_s)
        self._heartbeat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._done.set()
        self._heartbeat.join()
        if self._holder() == self._me:
            self._path.unlink(missing_ok=True)

    def _create(self) -> bool:
        """Create the lock file with its content, only if none exists: write a private file, then hard-link it."""
        own = self._write_own()
        try:
            os.link(own, self._path)
            return True
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            return self._create_exclusively()
        finally:
            own.unlink(missing_ok=True)

    def _create_exclusively(self) -> bool:
        try:
            with self._path.open("x") as file:
                file.write(self._text())
        except FileExistsError:
            return False
        return True

    def _take_over(self) -> bool:
        """Replace an abandoned lock; when several workers do so, the last one to write holds it."""
        self._write_own().replace(self._path)
        time.sleep(self._timing.confirm_s)
        return self._holder() == self._me

    def _write_own(self) -> Path:
        own = self._path.with_name(f"{self._path.name}.{self._me.token}")
        own.write_text(self._text())
        return own

    def _text(self) -> str:
        return json.dumps({"host": self._me.host, "pid": self._me.pid, "token": self._me.token})

    def _holder(self) -> Holder | None:
        """The holder that the file names; None when the file no longer exists."""
        try:
            fields = json.loads(self._path.read_text())
            return Holder(str(fields["host"]), int(fields["pid"]), str(fields["token"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return Holder("an unreadable lock file", 0, "")

    def _age_s(self) -> float:
        """Seconds since the holder touched the file, by the clock of its file system."""
        probe = self._write_own()
        try:
            return probe.stat().st_mtime - self._path.stat().st_mtime
        except FileNotFoundError:
            return 0.0
        finally:
            probe.unlink(missing_ok=True)

    def _keep_alive(self) -> None:
        while not self._done.wait(self._timing.touch_s):
            try:
                os.utime(self._path)
            except OSError:
                return
