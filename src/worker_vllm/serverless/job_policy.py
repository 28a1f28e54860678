"""What a job's own `policy` allows it: pure reading of the job object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_LIFE_S = 24 * 3600.0  # the platform's default ttl
LONGEST_S = 7 * 24 * 3600.0  # the platform's largest ttl and executionTimeout


@dataclass(frozen=True, slots=True)
class JobLimits:
    """Seconds from the moment the job was taken; the platform counts ttl from submission, so ours ends later."""

    execution_s: float | None = None
    life_s: float = DEFAULT_LIFE_S

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> JobLimits:
        """The limits in the job's `policy` (milliseconds there).

        Anything unreadable counts as not given; what is longer than the platform allows, as the longest it allows.
        """
        policy = job.get("policy")
        if not isinstance(policy, Mapping):
            return cls()
        return cls(
            execution_s=_seconds(policy.get("executionTimeout")),
            life_s=_seconds(policy.get("ttl")) or DEFAULT_LIFE_S,
        )


def _seconds(milliseconds: object) -> float | None:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float) or not milliseconds > 0:
        return None
    return min(milliseconds, LONGEST_S * 1000) / 1000
