"""One gauge that an object of the queue worker offers for the metrics endpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GaugeSource:
    """A gauge's name without the `worker_` prefix, its help text, and the function that returns its current value."""

    name: str
    help: str
    read: Callable[[], float]
