"""The live feed: server-sent events with what has changed since the last ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from worker_vllm import __version__
from worker_vllm.console.state import ConsoleState
from worker_vllm.errors import NotFound, Overloaded
from worker_vllm.json_bytes import dump

PAUSE_S = 0.25
KEEP_ALIVE_S = 10.0
MOST_READERS = 20
ROWS_AN_EVENT = 2_000


def event(name: str, payload: Any) -> bytes:
    """One server-sent event."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), dump(payload))


class Feed:
    """What one page has been sent, and what it must be sent next."""

    def __init__(self, state: ConsoleState) -> None:
        self._state = state
        self._revision = 0
        self._points: dict[str, int] = {}
        self._sent: dict[str, bytes] = {}

    def events(self) -> list[bytes]:
        """The events for everything that changed since the last call."""
        found = [
            *self._if_changed("endpoints", self._state.endpoint_payloads()),
            *self._if_changed("workers", self._state.worker_payloads()),
            *self._job_events(),
        ]
        samples = self._new_points()
        return [*found, event("samples", samples)] if samples else found

    def _if_changed(self, name: str, payload: Any) -> list[bytes]:
        text = event(name, payload)
        if self._sent.get(name) == text:
            return []
        self._sent[name] = text
        return [text]

    def _job_events(self) -> list[bytes]:
        self._state.refresh_rows()
        rows = self._state.rows
        if rows.revision == self._revision:
            return []
        found = rows.since(self._revision)
        self._revision = rows.revision
        changed, removed = found["changed"], found["removed"]
        parts = [changed[at : at + ROWS_AN_EVENT] for at in range(0, max(len(changed), 1), ROWS_AN_EVENT)]
        return [event("jobs", {"changed": part, "removed": removed if part is parts[0] else []}) for part in parts]

    def _new_points(self) -> dict[str, Any]:
        found = {}
        for name, series in self._state.series.items():
            if points := series.since(self._points.get(name, 0)):
                found[name] = points
            self._points[name] = series.count
        return found


async def follow(state: ConsoleState, hello: dict[str, Any]) -> AsyncIterator[bytes]:
    """The events of one page until it goes or the console closes. Raises Overloaded when too many pages are open."""
    feed = Feed(state)
    state.readers += 1
    quiet_s = 0.0
    try:
        yield event("hello", {"version": __version__, **hello})
        while not state.closing.is_set():
            events = feed.events()
            quiet_s = 0.0 if events else quiet_s + PAUSE_S
            for one in events:
                yield one
            if quiet_s >= KEEP_ALIVE_S:
                quiet_s = 0.0
                yield b": alive\n\n"
            await state.pause(PAUSE_S)
    finally:
        state.readers -= 1


def check_readers(state: ConsoleState) -> None:
    """Raises Overloaded when too many pages are open."""
    if state.readers >= MOST_READERS:
        raise Overloaded(f"{MOST_READERS} pages of this console are open already: close one of them")


async def follow_log(state: ConsoleState, worker_id: str) -> AsyncIterator[bytes]:
    """The log of one worker: what is kept, then new lines, until it has ended."""
    number = 0
    while not state.closing.is_set():
        try:
            records = state.host.fleet.log(worker_id, number)
        except NotFound:  # it has ended
            return
        if records:
            number = records[-1].number
            lines = [
                {
                    "number": record.number,
                    "at": state.wall(record.at),
                    "level": record.level,
                    "message": record.message,
                    "engine": record.engine,
                }
                for record in records
            ]
            yield event("lines", lines)
        await state.pause(PAUSE_S)
