"""How long to wait before the next request to the platform: pure arithmetic over its last answer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from worker_vllm.serverless.http.connection import PlatformAnswer

_SECONDS = re.compile("[0-9]{1,9}([.][0-9]+)?")  # not isdigit, which accepts characters that float() refuses

HELD_S = 0.5  # an empty answer after this long came from a platform that holds long polls


@dataclass(frozen=True, slots=True)
class ExponentialBackoff:
    """Delays that grow from `first_s` by `factor` up to `max_s`."""

    first_s: float
    max_s: float
    factor: float = 2.0

    def delay_s(self, failures: int) -> float:
        """The delay after the given number of failures in a row, from 1."""
        return float(min(self.max_s, self.first_s * self.factor ** min(failures - 1, 60)))


EMPTY_BACKOFF = ExponentialBackoff(first_s=0.01, max_s=0.5, factor=1.5)
BUSY_BACKOFF = ExponentialBackoff(first_s=1.0, max_s=15.0)
FAILURE_BACKOFF = ExponentialBackoff(first_s=0.1, max_s=5.0)


def is_not_accepted(status: int) -> bool:
    """Whether the answer proves that nothing was accepted and the same request may succeed later.

    500, 502, 504 and 52x prove nothing: a proxy that answers so may have passed the request on before.
    """
    return status in (425, 429, 503)


def may_succeed_later(status: int) -> bool:
    """Whether a request that may be repeated without harm is worth repeating after this answer."""
    # A key may be renewed and a redirect corrected during the job's ttl.
    return 300 <= status < 400 or status in (401, 403, 408, 425, 429) or status >= 500


def retry_after_s(answer: PlatformAnswer, limit_s: float = 60.0, clock: Callable[[], float] = time.time) -> float:
    """The pause in seconds that `Retry-After` asks for, as a number or a date; 0 where it is absent or unreadable.

    A date counts from the answer's own date; `clock` (seconds since 1970) stands in where it has none.
    """
    text = answer.header("retry-after") or ""
    if _SECONDS.fullmatch(text):
        return min(limit_s, float(text))
    until = _date(text)
    if until is None:
        return 0.0
    now = _date(answer.header("date") or "")
    return max(0.0, min(limit_s, until - (clock() if now is None else now)))


def _date(text: str) -> float | None:
    """Seconds since 1970 of an HTTP date."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


class PollBackoff:
    """The pause between two long polls.

    An answer that the platform held back is followed by the next poll at once. A platform that answers empty at once
    is polled at intervals that grow to half a second. The pause is longer for one that is busy or fails, with jitter,
    so that many workers do not return together. `random` returns numbers in [0, 1).
    """

    def __init__(self, random: Callable[[], float], empty: ExponentialBackoff = EMPTY_BACKOFF) -> None:
        self._random = random
        self._empty = empty
        self._cause: ExponentialBackoff | None = None
        self._times = 0

    def reset(self) -> None:
        """Start again with the shortest pause, after an answer that was not empty."""
        self._cause, self._times = None, 0

    def after(self, answer: PlatformAnswer | None, held_s: float) -> float:
        """Seconds to wait after an empty answer that took `held_s`; None stands for no answer."""
        if answer is None:
            return self._next(FAILURE_BACKOFF)
        if answer.status == 429:
            return max(retry_after_s(answer), self._next(BUSY_BACKOFF))
        if answer.status in (200, 204, 400):  # 400 is the answer to a paused worker
            if held_s >= HELD_S:
                self.reset()
                return 0.0
            return self._next(self._empty)
        return max(retry_after_s(answer), self._next(FAILURE_BACKOFF))

    def _next(self, cause: ExponentialBackoff) -> float:
        self._times = self._times + 1 if cause is self._cause else 1
        self._cause = cause
        return cause.delay_s(self._times) * (0.5 + 0.5 * self._random())
