"""The batch sizes of one job: its own where it has any, else those of the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from worker_vllm.errors import RequestError
from worker_vllm.jobs.output.batching import BatchPolicy
from worker_vllm.settings.types import JobSettings

BATCH_KEYS = ("max_batch_size", "min_batch_size", "batch_size_growth_factor")
Number = TypeVar("Number", int, float)


def asks_for_batches(given: Mapping[str, Any]) -> bool:
    """Whether the job has a batch size of its own."""
    return any(given.get(key) for key in BATCH_KEYS)


def parse_batch_policy(given: Mapping[str, Any], settings: JobSettings) -> BatchPolicy:
    """The job's sizes; absent, null and 0 mean those of the settings. Raises RequestError for other values."""
    return BatchPolicy(
        max_size=_number(given, "max_batch_size", int) or settings.batch_size,
        min_size=_number(given, "min_batch_size", int) or settings.min_batch_size,
        growth=_number(given, "batch_size_growth_factor", float) or settings.batch_size_growth_factor,
    )


def _number(given: Mapping[str, Any], key: str, kind: Callable[[Any], Number]) -> Number:
    value = given.get(key)
    if value is None or value == "":
        return kind(0)
    try:
        number = kind(value)
    except (TypeError, ValueError, OverflowError):
        number = kind(-1)
    if isinstance(value, bool) or not 0 <= number < float("inf"):
        raise RequestError(f"{key}: expected a number of tokens, 0 or more, got {value!r:.80}", param=key)
    return number
