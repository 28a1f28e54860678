"""Results that could not be delivered yet, one private file each, on a volume that several workers may share.

What a live worker still tries to deliver lies in a directory of its own (`ownership.py`); what nobody tries any more
lies in the spool itself, for whoever looks next. A file changes hands by being renamed, so one taker gets it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from worker_vllm.serverless.delivery.spool_ownership import Neighbours, OwnDirectory
from worker_vllm.serverless.http.address import BadAddress, target_of

log = logging.getLogger(__name__)

SUFFIX = ".result"
LARGEST_FILE_BYTES = 64 * 1024 * 1024
LONGEST_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job ends with: where it goes, the body, and until when (seconds since 1970) anybody may want it."""

    job_id: str
    url: str
    body: bytes
    wanted_until: float

    def __str__(self) -> str:
        digest = hashlib.sha256(self.body).hexdigest()[:16]
        return f"job={self.job_id} bytes={len(self.body)} sha256={digest}"


class ResultSpool:
    """Keeps results in `directory` (0700, files 0600). Its methods block on the disk and never raise OSError."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock
        self._own = OwnDirectory(directory)
        self._neighbours = Neighbours()
        self._passed: set[Path] = set()  # results of other endpoints, told once
        self._lock = threading.Lock()

    def hold(self, result: JobResult) -> bool:
        """Keep a result that this process still tries to deliver: nobody else takes it while the process lives."""
        try:
            with self._lock:
                self._own.open()
            return self._write(result, self._own.path)
        except OSError as error:
            log.error("result cannot be spooled: %s reason=%s", result, error)
            return False

    def keep(self, result: JobResult) -> bool:
        """Leave a result to whoever looks next, whole or not at all; False when the disk refuses."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            kept = self._write(result, self._directory)
        except OSError as error:
            log.error("result cannot be spooled: %s reason=%s", result, error)
            return False
        if kept:
            with suppress(OSError):
                (self._own.path / _name(result.job_id)).unlink(missing_ok=True)
        return kept

    def forget(self, job_id: str) -> None:
        """Remove the result of a job that has been delivered or is not wanted any more."""
        for place in (self._own.path, self._directory):
            with suppress(OSError):
                (place / _name(job_id)).unlink(missing_ok=True)

    def claim(self, endpoint: str) -> list[Path]:
        """Take over what nobody live tries to deliver to `endpoint`, an address's part before `/job-done/`.

        Also says that this process lives. Results of other endpoints stay; what nobody wants any more is removed.
        """
        with suppress(OSError):
            self._own.beat()
        claimed: list[Path] = []
        for path in self._left():
            try:
                url, wanted_until = _head(path)
            except (OSError, ValueError) as error:
                self._remove(path, f"unreadable: {error}")
                continue
            if not wanted_until >= self._clock():
                self._remove(path, "past its time")
            elif url.partition("/job-done/")[0] == endpoint:
                claimed += self._take(path)
            elif path not in self._passed:
                self._passed.add(path)
                log.warning("spooled result left alone, it belongs to another endpoint: %s", path.name)
        return claimed

    def read(self, path: Path) -> JobResult | None:
        """A claimed result; None, with a line in the log, where there is none any more."""
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                text = file.read(LARGEST_FILE_BYTES + 1)
            if len(text) > LARGEST_FILE_BYTES:
                raise ValueError(f"over {LARGEST_FILE_BYTES} bytes")
            head, _, body = text.partition(b"\n")
            said = json.loads(head)
            return JobResult(str(said["job"]), str(said["url"]), body, float(said["wanted_until"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error("spooled result cannot be read: %s reason=%s", path.name, error)
            return None

    def release(self) -> None:
        """This process ends: what it still holds goes back to the spool."""
        with self._lock:
            self._own.give_up(self._directory, SUFFIX)

    def _left(self) -> Iterator[Path]:
        """Every result that nobody live tries to deliver."""
        places = [self._directory, *self._neighbours.dead(self._directory, self._own.path)]
        for place in places:
            with suppress(OSError):
                yield from sorted(path for path in place.iterdir() if path.suffix == SUFFIX)
            if place != self._directory:
                self._neighbours.clear(place, SUFFIX)

    def _take(self, path: Path) -> list[Path]:
        try:
            with self._lock:
                self._own.open()
            taken = self._own.path / path.name
            path.rename(taken)
        except OSError as error:
            log.info("spooled result not taken over: %s reason=%s", path.name, error)  # another was faster
            return []
        return [taken]

    def _remove(self, path: Path, reason: str) -> None:
        log.warning("spooled result removed: %s reason=%s", path.name, reason)
        with suppress(OSError):
            path.unlink(missing_ok=True)

    def _write(self, result: JobResult, place: Path) -> bool:
        """Write so that a crash leaves either all of the result or nothing."""
        path = place / _name(result.job_id)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        head = {"job": result.job_id, "url": result.url, "wanted_until": result.wanted_until}
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
                file.write(json.dumps(head).encode() + b"\n" + result.body)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        return True


def _name(job_id: str) -> str:
    return hashlib.sha256(job_id.encode("utf-8", "surrogatepass")).hexdigest()[:32] + SUFFIX


def _head(path: Path) -> tuple[str, float]:
    """The address of a spooled result and until when it is wanted. Raises OSError or ValueError, in words."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        line = file.readline(LONGEST_HEAD_BYTES)
    try:
        said = json.loads(line)
        url, wanted_until = str(said["url"]), float(said["wanted_until"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("it does not begin with a result's address") from error
    try:
        target_of(url)
    except BadAddress as error:
        raise ValueError(str(error)) from error
    return url, wanted_until
