"""Upstream's tests that pass against the bare engine and must not pass through gateway and worker, and why."""

from __future__ import annotations

INTENDED: dict[str, str] = {}
