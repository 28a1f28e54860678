"""Which directory of a shared spool belongs to a live worker.

Each worker that spools has a directory with an `owner` file that it locks and touches. On one machine the lock is
enough: the kernel releases it when the process ends. Across machines, locks of network volumes are unreliable (some
keep them per client), so there an owner counts as dead when the file's time has not changed for `STALE_S`, by this
process's own clock.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

OWNER = "owner"
TOUCH_INTERVAL_S = 20.0  # how often an owner touches its file
STALE_S = 150.0  # an owner that has not for this long is dead or frozen; posting its results twice is harmless


class WorkerDirectory:
    """This process's directory in the spool, created when it is first needed."""

    def __init__(self, spool: Path) -> None:
        self.path = spool / f"worker-{uuid.uuid4().hex}"
        self._owner: int | None = None

    def open(self) -> None:
        """Create the directory. Raises OSError."""
        if self._owner is not None:
            return
        draft = self.path.with_name(f".{self.path.name}")  # other workers see it only once it is locked
        draft.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.parent.chmod(0o700)
        owner = os.open(draft / OWNER, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            os.write(owner, json.dumps(_machine_identity(draft)).encode())
            with suppress(OSError):  # a volume without locks
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.rename(self.path)
        except OSError:
            os.close(owner)
            raise
        self._owner = owner

    def touch(self) -> None:
        """Touch the `owner` file, as a sign that this process lives. Raises OSError."""
        if self._owner is not None:
            os.utime(self._owner)

    def release(self, spool: Path, suffix: str) -> None:
        """Move the remaining results to `spool` and remove the directory."""
        if self._owner is None:
            return
        with suppress(OSError):
            for path in self.path.iterdir():
                if path.suffix == suffix:
                    path.rename(spool / path.name)
            shutil.rmtree(self.path)
        os.close(self._owner)
        self._owner = None


class OtherDirectories:
    """The other workers' directories of the spool, with the time since when each `owner` file is unchanged."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[Path, tuple[int, float]] = {}

    def find_dead(self, spool: Path, own: Path) -> list[Path]:
        """The directories whose owner is dead."""
        try:
            with os.scandir(spool) as entries:
                places = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []
        others = [place for place in places if place.name.startswith("worker-") and place != own]
        self._seen = {place: seen for place, seen in self._seen.items() if place in others}
        return [place for place in others if self._is_dead(place)]

    def remove_if_empty(self, place: Path, suffix: str) -> None:
        """Remove a dead owner's directory if no result is left in it."""
        with suppress(OSError):
            if not any(path.suffix == suffix for path in place.iterdir()):
                shutil.rmtree(place)

    def _is_dead(self, place: Path) -> bool:
        try:
            owner = os.open(place / OWNER, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return self._is_stale(place, place)
        except OSError:
            return False
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if json.loads(os.read(owner, 4096)) == _machine_identity(place):
                return True
        except BlockingIOError:
            return False  # locked: the owner is alive, or frozen on this machine
        except (OSError, ValueError):
            pass  # a volume without locks, or an unreadable record
        finally:
            os.close(owner)
        return self._is_stale(place, place / OWNER)

    def _is_stale(self, place: Path, marker: Path) -> bool:
        try:
            touched = marker.stat().st_mtime_ns
        except OSError:
            return False
        now = self._clock()
        seen = self._seen.get(place)
        if seen is None or seen[0] != touched:
            self._seen[place] = (touched, now)
            return False
        return now - seen[1] > STALE_S


def _machine_identity(place: Path) -> dict[str, str | int]:
    """The kernel and the mounted file system: where both are the same, both processes see each other's locks."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return {"boot": boot.read_text().strip() if boot.exists() else "", "device": place.stat().st_dev}
