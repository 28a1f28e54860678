"""How long to wait before asking the platform again: pure arithmetic over what it answered last."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from worker_vllm.serverless.http.connection import PlatformAnswer

_SECONDS = re.compile("[0-9]{1,9}([.][0-9]+)?")  # not isdigit: that knows digits which are no numbers

HELD_S = 0.5  # an empty answer after this long came from a platform that holds long polls


@dataclass(frozen=True, slots=True)
class Curve:
    """Delays that grow from `first_s` by `factor` up to `most_s`."""

    first_s: float
    most_s: float
    factor: float = 2.0

    def delay_s(self, failures: int) -> float:
        """The delay after the given number of failures in a row, from 1."""
        return float(min(self.most_s, self.first_s * self.factor ** min(failures - 1, 60)))


EMPTY = Curve(first_s=0.01, most_s=0.5, factor=1.5)
BUSY = Curve(first_s=1.0, most_s=15.0)
BROKEN = Curve(first_s=0.1, most_s=5.0)


def is_not_accepted(status: int) -> bool:
    """Whether the answer proves that nothing was accepted and the same request may succeed later.

    500, 502, 504 and 52x prove nothing: whoever answers so may have passed the request on first.
    """
    return status in (425, 429, 503)


def may_succeed_later(status: int) -> bool:
    """Whether a request that may be repeated without harm is worth repeating after this answer."""
    # A key may be renewed and a redirect mended while the job lives.
    return 300 <= status < 400 or status in (401, 403, 408, 425, 429) or status >= 500


def retry_after_s(answer: PlatformAnswer, limit_s: float = 60.0, clock: Callable[[], float] = time.time) -> float:
    """The pause that the platform asks for, in seconds or as a date; 0 when it names none that can be understood.

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

    An answer that the platform held back is followed at once. A platform that answers empty at once is asked at
    intervals that grow to half a second; one that is busy or broken is left alone longer, with jitter, so that many
    workers do not return together. `random` gives numbers in [0, 1).
    """

    def __init__(self, random: Callable[[], float], empty: Curve = EMPTY) -> None:
        self._random = random
        self._empty = empty
        self._cause: Curve | None = None
        self._times = 0

    def useful(self) -> None:
        """The last answer brought something."""
        self._cause, self._times = None, 0

    def after(self, answer: PlatformAnswer | None, held_s: float) -> float:
        """Seconds to wait after an answer that brought nothing and took `held_s`; None stands for no answer."""
        if answer is None:
            return self._next(BROKEN)
        if answer.status == 429:
            return max(retry_after_s(answer), self._next(BUSY))
        if answer.status in (200, 204, 400):  # 400 is what a paused worker is told
            if held_s >= HELD_S:
                self.useful()
                return 0.0
            return self._next(self._empty)
        return max(retry_after_s(answer), self._next(BROKEN))

    def _next(self, cause: Curve) -> float:
        self._times = self._times + 1 if cause is self._cause else 1
        self._cause = cause
        return cause.delay_s(self._times) * (0.5 + 0.5 * self._random())
