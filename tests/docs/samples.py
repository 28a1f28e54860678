"""Compares an answer with a sample of the documentation."""

from __future__ import annotations

from typing import Any


def covers(answer: Any, shown: Any) -> bool:
    """Whether an answer has everything that is shown; what is not shown is null, and `…` is anything."""
    if shown == "…":
        return answer is not None
    if isinstance(shown, dict):
        return isinstance(answer, dict) and all(key in answer and covers(answer[key], shown[key]) for key in shown)
    if isinstance(shown, list):
        return isinstance(answer, list) and len(answer) == len(shown) and all(map(covers, answer, shown))
    return bool(answer == shown)
