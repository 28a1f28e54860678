"""What the log says of a platform that fails: a line per change of its state, and a summary, not one per attempt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

QUIET_S = 2.0  # an outage is over with the first success after as long without a failure
SUMMARY_S = 60.0
MOST_REASONS = 16  # told of one outage


@dataclass(slots=True)
class _Outage:
    began: float
    told: float
    last_failure: float
    reason: str
    failures: int = 0
    reasons: set[str] = field(default_factory=set)


class Outages:
    """Hears how every exchange with the platform went, by the kind of request. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._open: dict[str, _Outage] = {}

    def failed(self, kind: str, reason: str) -> None:
        """A request of this kind was not accepted, or nobody knows."""
        now = self._clock()
        outage = self._open.get(kind)
        if outage is None:
            outage = self._open[kind] = _Outage(now, now, now, reason)
        outage.failures += 1
        outage.last_failure, outage.reason = now, reason
        if reason not in outage.reasons and len(outage.reasons) < MOST_REASONS:
            outage.reasons.add(reason)
            outage.told = now
            log.warning("%s fails: %s", kind, reason)
        elif now - outage.told >= SUMMARY_S:
            outage.told = now
            log.warning(
                "%s still fails after %.0f s: %d attempts, the last: %s",
                kind, now - outage.began, outage.failures, reason,
            )  # fmt: skip

    def worked(self, kind: str) -> None:
        """A request of this kind was answered as it should be."""
        outage = self._open.get(kind)
        now = self._clock()
        if outage is None or now - outage.last_failure < QUIET_S:
            return
        del self._open[kind]
        log.warning(
            "%s works again after %.1f s: %d attempts had failed, the last: %s",
            kind, now - outage.began, outage.failures, outage.reason,
        )  # fmt: skip
