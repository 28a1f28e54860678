"""Results that could not be delivered yet, one private file each, on a volume that several workers may share.

Results that a live worker still tries to deliver are in its own directory (`spool_ownership.py`). Results without
an owner are in the spool's directory itself, for the next worker that looks. A rename changes a file's owner, so that
exactly one worker gets it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from worker_vllm.serverless.delivery.spool_ownership import OtherDirectories, WorkerDirectory
from worker_vllm.serverless.http.address import BadAddress, parse_target

log = logging.getLogger(__name__)

SUFFIX = ".result"
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class JobResult:
    """A job's final result: the address that it is posted to, its body in parts, its expiry (seconds since 1970)."""

    job_id: str
    url: str
    body: Sequence[bytes]
    wanted_until: float

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.body))

    def __str__(self) -> str:
        digest = hashlib.sha256()
        for part in self.body:
            digest.update(part)
        return f"job={self.job_id} bytes={self.size} sha256={digest.hexdigest()[:16]}"


class ResultSpool:
    """Stores results in `directory` (0700, files 0600). Its methods block on the disk and never raise OSError."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock
        self._own = WorkerDirectory(directory)
        self._others = OtherDirectories()
        self._skipped: set[Path] = set()  # results of other endpoints, logged once
        self._lock = threading.Lock()

    def save_owned(self, result: JobResult) -> bool:
        """Save a result that this process still tries to deliver: no other process takes it while this one lives."""
        try:
            with self._lock:
                self._own.open()
            return self._write(result, self._own.path)
        except OSError as error:
            log.error("result cannot be spooled: %s reason=%s", result, error)
            return False

    def save_shared(self, result: JobResult) -> bool:
        """Save a result for the next worker that looks, completely or not at all. False when the disk refuses."""
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

    def remove(self, job_id: str) -> None:
        """Remove the result of a job that has been delivered or cancelled."""
        for place in (self._own.path, self._directory):
            with suppress(OSError):
                (place / _name(job_id)).unlink(missing_ok=True)

    def claim(self, endpoint: str) -> list[Path]:
        """Take over the results for `endpoint` (an address's part before `/job-done/`) that have no live owner.

        Also touches this process's `owner` file. Results of other endpoints stay; expired ones are removed.
        """
        with suppress(OSError):
            self._own.touch()
        claimed: list[Path] = []
        for path in self._unclaimed():
            try:
                url, wanted_until = _head(path)
            except (OSError, ValueError) as error:
                self._discard(path, f"unreadable: {error}")
                continue
            if not wanted_until >= self._clock():
                self._discard(path, "expired")
            elif url.partition("/job-done/")[0] == endpoint:
                claimed += self._take(path)
            elif path not in self._skipped:
                self._skipped.add(path)
                log.warning("spooled result skipped, it belongs to another endpoint: %s", path.name)
        return claimed

    def read(self, path: Path) -> JobResult | None:
        """A claimed result; None, with an error in the log, where it cannot be read."""
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                text = file.read(MAX_FILE_BYTES + 1)
            if len(text) > MAX_FILE_BYTES:
                raise ValueError(f"over {MAX_FILE_BYTES} bytes")
            head, _, body = text.partition(b"\n")
            header = json.loads(head)
            return JobResult(str(header["job"]), str(header["url"]), (body,), float(header["wanted_until"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error("spooled result cannot be read: %s reason=%s", path.name, error)
            return None

    def release(self) -> None:
        """Move this process's own results to the spool's directory. Called when the process ends."""
        with self._lock:
            self._own.release(self._directory, SUFFIX)

    def _unclaimed(self) -> Iterator[Path]:
        """Every result without a live owner."""
        places = [self._directory, *self._others.find_dead(self._directory, self._own.path)]
        for place in places:
            with suppress(OSError):
                yield from sorted(path for path in place.iterdir() if path.suffix == SUFFIX)
            if place != self._directory:
                self._others.remove_if_empty(place, SUFFIX)

    def _take(self, path: Path) -> list[Path]:
        try:
            with self._lock:
                self._own.open()
            taken = self._own.path / path.name
            path.rename(taken)
        except OSError as error:
            log.info("spooled result not taken over: %s reason=%s", path.name, error)  # another worker was faster
            return []
        return [taken]

    def _discard(self, path: Path, reason: str) -> None:
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
                file.writelines((json.dumps(head).encode(), b"\n", *result.body))
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
    """The address of a spooled result and its expiry. Raises OSError or ValueError with a readable message."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        line = file.readline(MAX_HEAD_BYTES)
    try:
        header = json.loads(line)
        url, wanted_until = str(header["url"]), float(header["wanted_until"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("the first line is not JSON with a text `url` and a number `wanted_until`") from error
    try:
        parse_target(url)
    except BadAddress as error:
        raise ValueError(str(error)) from error
    return url, wanted_until
