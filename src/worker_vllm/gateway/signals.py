"""Waiting for an event by name: nobody polls, and nothing is missed between a check and the wait for a change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from worker_vllm.gateway.http import ClientGone, Request


class Signals:
    """`wake` releases everyone who waits for that name now; nothing is kept for those who come later."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    def wake(self, name: str) -> None:
        """Release whoever waits for this name."""
        for future in self._waiting.pop(name, ()):
            if not future.done():
                future.set_result(None)

    def wake_all(self) -> None:
        """Release everyone."""
        for name in list(self._waiting):
            self.wake(name)

    async def wait(self, name: str) -> None:
        """Return at the next `wake` of this name."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, set()).add(future)
        try:
            await future
        finally:
            waiting = self._waiting.get(name)
            if waiting is not None:
                waiting.discard(future)
                if not waiting:
                    del self._waiting[name]


class Hold:
    """A request that is held until something is so, its time is over, or its client has gone; a context manager."""

    def __init__(self, request: Request, signals: Signals, name: str, timeout_s: float) -> None:
        self._request = request
        self._signals = signals
        self._name = name
        self._timeout_s = timeout_s
        self._expired = False
        self._gone: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, traceback: TracebackType | None) -> None:
        if self._gone is not None:
            self._gone.cancel()
        if self._timer is not None:
            self._timer.cancel()

    async def until(self, reached: Callable[[], bool]) -> bool:
        """True once `reached()` is, asked again at every wake; False when the time is over. Raises ClientGone."""
        while not self._client_gone() and not reached():
            if self._expired:
                return False
            self._watch()
            await self._signals.wait(self._name)
        return True

    def _client_gone(self) -> bool:
        if self._gone is not None and self._gone.done():
            raise ClientGone
        return False

    def _watch(self) -> None:
        if self._gone is None:
            self._gone = asyncio.create_task(self._request.gone())
            self._gone.add_done_callback(lambda _: self._signals.wake(self._name))
            self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._signals.wake(self._name)
