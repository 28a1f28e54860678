"""Logs outages of the platform: a line per change of state and a regular summary, not one line per attempt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

QUIET_S = 2.0  # an outage is over with the first success after as long without a failure
SUMMARY_S = 60.0
MAX_REASONS = 16  # logged of one outage


@dataclass(slots=True)
class _Outage:
    began: float
    logged_at: float
    last_failure: float
    reason: str
    failures: int = 0
    reasons: set[str] = field(default_factory=set)


class OutageLog:
    """Records the outcome of every request, by its kind. `clock` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._open: dict[str, _Outage] = {}

    def failed(self, kind: str, reason: str) -> None:
        """Record a request that was not accepted, or whose outcome is unknown."""
        now = self._clock()
        outage = self._open.get(kind)
        if outage is None:
            outage = self._open[kind] = _Outage(now, now, now, reason)
        outage.failures += 1
        outage.last_failure, outage.reason = now, reason
        if reason not in outage.reasons and len(outage.reasons) < MAX_REASONS:
            outage.reasons.add(reason)
            outage.logged_at = now
            log.warning("%s fails: %s", kind, reason)
        elif now - outage.logged_at >= SUMMARY_S:
            outage.logged_at = now
            log.warning(
                "%s still fails after %.0f s: %d attempts, the last: %s",
                kind, now - outage.began, outage.failures, reason,
            )  # fmt: skip

    def succeeded(self, kind: str) -> None:
        """Record a request that was answered as expected."""
        outage = self._open.get(kind)
        if outage is None or (now := self._clock()) - outage.last_failure < QUIET_S:
            return
        del self._open[kind]
        log.warning(
            "%s works again after %.1f s: %d attempts had failed, the last: %s",
            kind, now - outage.began, outage.failures, outage.reason,
        )  # fmt: skip
