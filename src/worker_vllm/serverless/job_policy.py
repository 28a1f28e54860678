"""The time limits in a job's own `policy`. Pure parsing of the job object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_TTL_S = 24 * 3600.0  # the platform's default ttl
MAX_S = 7 * 24 * 3600.0  # the platform's largest ttl and executionTimeout


@dataclass(frozen=True, slots=True)
class JobLimits:
    """Seconds from the moment the job was taken; the platform counts the ttl from submission, so it ends earlier."""

    execution_timeout_s: float | None = None
    ttl_s: float = DEFAULT_TTL_S

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> JobLimits:
        """The limits in the job's `policy` (milliseconds there).

        An unreadable limit counts as absent; one above the platform's maximum counts as the maximum.
        """
        policy = job.get("policy")
        if not isinstance(policy, Mapping):
            return cls()
        return cls(
            execution_timeout_s=_seconds(policy.get("executionTimeout")),
            ttl_s=_seconds(policy.get("ttl")) or DEFAULT_TTL_S,
        )


def _seconds(milliseconds: object) -> float | None:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float) or not milliseconds > 0:
        return None
    return min(milliseconds, MAX_S * 1000) / 1000


def queue_delay_s(job: Mapping[str, Any]) -> float | None:
    """Seconds that the job waited in the platform's queue, where the job tells it as `delayTime` in milliseconds."""
    delay_ms = job.get("delayTime")
    return 0.0 if delay_ms == 0 and not isinstance(delay_ms, bool) else _seconds(delay_ms)
