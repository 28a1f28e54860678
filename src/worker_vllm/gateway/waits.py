"""Events by name, and requests that are held until an event: no polling, no lost wake-up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from worker_vllm.gateway.server.request import ClientDisconnected, GatewayRequest


class NamedEvents:
    """`wake` releases the current waiters of a name; later waiters wait for the next `wake`."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    def wake(self, name: str) -> None:
        """Release the waiters of this name."""
        waiting = self._waiting.pop(name, None)
        if waiting is not None:
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def wake_all(self) -> None:
        """Release the waiters of every name."""
        for name in list(self._waiting):
            self.wake(name)

    async def wait(self, name: str) -> None:
        """Return at the next `wake` of this name."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, set()).add(future)
        try:
            await future
        except asyncio.CancelledError:
            waiting = self._waiting.get(name)
            if waiting is not None:
                waiting.discard(future)
                if not waiting:
                    del self._waiting[name]
            raise


class HeldRequest:
    """A request held until a condition is true, the timeout ends, or its client disconnects; a context manager."""

    __slots__ = ("_expired", "_name", "_request", "_signals", "_timeout_s", "_timer")

    def __init__(self, request: GatewayRequest, signals: NamedEvents, name: str, timeout_s: float) -> None:
        self._request = request
        self._signals = signals
        self._name = name
        self._timeout_s = timeout_s
        self._expired = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, traceback: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._request.on_disconnect(None)

    async def wait_until(self, reached: Callable[[], bool]) -> bool:
        """True once `reached()` is, checked at every wake; False after the timeout. Raises ClientDisconnected."""
        while not self._check_connected() and not reached():
            if self._expired:
                return False
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(self._timeout_s, self._expire)
                self._request.on_disconnect(self._wake)
            await self._signals.wait(self._name)
        return True

    def _check_connected(self) -> bool:
        if self._request.disconnected:
            raise ClientDisconnected
        return False

    def _wake(self) -> None:
        self._signals.wake(self._name)

    def _expire(self) -> None:
        self._expired = True
        self._wake()
