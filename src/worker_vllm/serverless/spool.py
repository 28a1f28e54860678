"""Results that could not be delivered yet, one private file each, for a later start on the same volume."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

SUFFIX = ".result"
LARGEST_FILE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Result:
    """What a job ends with: where it goes, the body, and until when (seconds since 1970) anybody may want it."""

    job_id: str
    url: str
    body: bytes
    wanted_until: float

    def __str__(self) -> str:
        digest = hashlib.sha256(self.body).hexdigest()[:16]
        return f"job={self.job_id} bytes={len(self.body)} sha256={digest}"


class Spool:
    """Keeps results in `directory` (0700, files 0600). Its methods block on the disk and never raise OSError."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock

    def keep(self, result: Result) -> bool:
        """Write the result so that a crash leaves either all of it or nothing; False when the disk refuses."""
        path = self._path(result.job_id)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        head = {"job": result.job_id, "url": result.url, "wanted_until": result.wanted_until}
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
                file.write(json.dumps(head).encode() + b"\n" + result.body)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            log.error("result cannot be spooled: %s reason=%s", result, error)
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            return False
        return True

    def forget(self, job_id: str) -> None:
        """Remove the result of a job that has been delivered or is not wanted any more."""
        with suppress(OSError):
            self._path(job_id).unlink(missing_ok=True)

    def left(self) -> Iterator[Result]:
        """Every result kept here that somebody may still want; the others are removed."""
        paths = sorted(self._directory.glob(f"*{SUFFIX}")) if self._directory.is_dir() else []
        for path in paths:
            result = _read(path)
            if result is None or result.wanted_until < self._clock():
                log.warning("spooled result removed, unreadable or past its time: %s", result or path.name)
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            else:
                yield result

    def _path(self, job_id: str) -> Path:
        return self._directory / (hashlib.sha256(job_id.encode()).hexdigest()[:32] + SUFFIX)


def _read(path: Path) -> Result | None:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            head, _, body = file.read(LARGEST_FILE_BYTES).partition(b"\n")
        said = json.loads(head)
        return Result(str(said["job"]), str(said["url"]), body, float(said["wanted_until"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
