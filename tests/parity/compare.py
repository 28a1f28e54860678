"""When two answers are the same: ids and timestamps aside, floats within the engine's own noise, and however many
tokens the engine happened to put into one event (it merges what its reader was slow to take).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from tests.support.http import Answer, parse_events

VOLATILE = frozenset(
    {"id", "item_id", "created", "created_at", "completed_at", "request_id", "sequence_number", "system_fingerprint"}
)
TOLERANCE = 2e-2  # log-probabilities on CPU move with the batch that a request happens to share


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client saw: the status, and the body's JSON value or the stream's events."""

    status: int
    value: Any

    @classmethod
    def of(cls, answer: Answer) -> Seen:
        """An answer without what differs from call to call."""
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return cls(answer.status, folded([stable(event) for event in parse_events(answer.body)]))
        return cls(answer.status, stable(json.loads(answer.body)))


def stable(value: Any) -> Any:
    """The value without ids and timestamps."""
    if isinstance(value, dict):
        return {key: stable(item) for key, item in value.items() if key not in VOLATILE}
    return [stable(item) for item in value] if isinstance(value, list) else value


def same(one: Any, other: Any) -> bool:
    """Equal, floats within the tolerance."""
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(item, other[key]) for key, item in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def folded(events: list[Any]) -> list[Any]:
    """The events with neighbouring deltas joined: per sequence where events name one, else of the same type."""
    done: list[Any] = []
    open_at: dict[Any, int] = {}
    for event in events:
        place = _place(event)
        if place is not None and place in open_at:
            done[open_at[place]] = _joined(done[open_at[place]], event)
            continue
        if place is None or place[0] == "type":
            open_at = {}
        if place is not None:
            open_at[place] = len(done)
        done.append(event)
    return _in_order(done)


def _in_order(events: list[Any]) -> list[Any]:
    """Sequences run side by side: whose event comes first is chance, so they are put in the order of their index."""
    chosen = [event for event in events if isinstance(event, dict) and event.get("choices")]
    chosen.sort(key=lambda event: event["choices"][0]["index"])
    ordered = iter(chosen)
    return [next(ordered) if isinstance(event, dict) and event.get("choices") else event for event in events]


def _place(event: Any) -> tuple[Any, ...] | None:
    """Which run of deltas an event belongs to; None for an event that is none."""
    if not isinstance(event, dict):
        return None
    if event.get("choices"):
        return ("choice", event["choices"][0]["index"])
    kind = str(event.get("type", ""))
    return ("type", kind) if kind.endswith("delta") and "usage" not in event else None


def _joined(one: Any, other: Any) -> Any:
    """Texts and lists go on, objects key by key, everything else is the later one's."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _part(key, one, other) for key in {**one, **other}}
    if isinstance(one, list) and isinstance(other, list):
        return one + other
    return other if other is not None else one


def _part(key: str, one: dict[str, Any], other: dict[str, Any]) -> Any:
    if key not in one or key not in other:
        return one.get(key, other.get(key))
    if key == "choices":
        return [_joined(one[key][0], other[key][0])]
    if key in ("text", "content", "reasoning", "arguments", "partial_json") and isinstance(one[key], str):
        return one[key] + (other[key] or "")
    if key == "delta" and isinstance(one[key], str):
        return one[key] + other[key]
    return _joined(one[key], other[key])
