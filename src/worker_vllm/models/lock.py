"""One download at a time on a shared volume: a lock file that is kept alive, and taken over when it no longer is.

Workers on different machines share a network volume, on which flock may grant every caller the lock. Here the lock is
a file that only one can create; its holder touches it every few seconds. A holder that died leaves a file that grows
old, and the next worker takes it over. Ages are compared by the volume's own clock. Were two ever to hold it, both
downloads end well: huggingface_hub moves each file into place whole.
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
    """How often the lock is touched, looked at, and when it counts as abandoned, in seconds."""

    beat_s: float = 5.0
    look_s: float = 1.0
    stale_s: float = 30.0
    settle_s: float = 1.0  # after a take-over, before the taker believes it


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the lock."""

    host: str
    pid: int
    token: str

    @classmethod
    def here(cls) -> Holder:
        """This process."""
        return cls(socket.gethostname(), os.getpid(), secrets.token_hex(8))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def gone(self) -> bool:
        """Known to be dead: a process of this host that no longer exists. False wherever that cannot be known."""
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
    """Inside it this process alone downloads; `waiting` is told the holder each time the lock was looked at."""

    def __init__(self, path: Path, waiting: Callable[[Holder], None], pace: LockTiming = LockTiming()) -> None:
        self._path = path
        self._waiting = waiting
        self._pace = pace
        self._me = Holder.here()
        self._done = threading.Event()
        self._beat = threading.Thread(target=self._keep_alive, daemon=True, name="download-lock")

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while not self._create():
            holder = self._holder()
            if holder is not None and (holder.gone or self._age_s() > self._pace.stale_s):
                if self._take_over():
                    break
            elif holder is not None:
                self._waiting(holder)
                time.sleep(self._pace.look_s)
        self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._done.set()
        self._beat.join()
        if self._holder() == self._me:
            self._path.unlink(missing_ok=True)

    def _create(self) -> bool:
        """Create the file whole and only if there is none: written beside, then linked into place."""
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
        """Replace an abandoned lock; of several who do, the last to write has it."""
        self._write_own().replace(self._path)
        time.sleep(self._pace.settle_s)
        return self._holder() == self._me

    def _write_own(self) -> Path:
        own = self._path.with_name(f"{self._path.name}.{self._me.token}")
        own.write_text(self._text())
        return own

    def _text(self) -> str:
        return json.dumps({"host": self._me.host, "pid": self._me.pid, "token": self._me.token})

    def _holder(self) -> Holder | None:
        """Who the file says has it; None when it is gone meanwhile."""
        try:
            told = json.loads(self._path.read_text())
            return Holder(str(told["host"]), int(told["pid"]), str(told["token"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return Holder("an unreadable lock file", 0, "")

    def _age_s(self) -> float:
        """Seconds since the holder touched the file, by the clock of the file system it is on."""
        probe = self._write_own()
        try:
            return probe.stat().st_mtime - self._path.stat().st_mtime
        except FileNotFoundError:
            return 0.0
        finally:
            probe.unlink(missing_ok=True)

    def _keep_alive(self) -> None:
        while not self._done.wait(self._pace.beat_s):
            try:
                os.utime(self._path)
            except OSError:
                return
