"""Doing what the fault plan says to a request, and the routes that set the plan; only with `--faults`."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from worker_vllm.errors import NotFound, RequestError
from worker_vllm.gateway.faults import Fault, FaultPlan, read_plan
from worker_vllm.gateway.http import Message, Request

PLAN_BYTES = 1_000_000
SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "STOP": signal.SIGSTOP, "CONT": signal.SIGCONT}

Serve = Callable[[Request], Awaitable[None]]


async def _say_nothing(message: Message) -> None:
    """An answer that nobody gets."""


class FaultApi:
    """`/faults` holds the plan; `/faults/workers/{id}` sends a signal to a worker that this process started."""

    def __init__(self) -> None:
        self._plan = FaultPlan()
        self.send_signal: Callable[[str, int], bool] = lambda worker_id, number: False

    async def control(self, request: Request) -> None:
        """GET, POST or DELETE the plan; POST a signal."""
        worker_id = request.path.removeprefix("/faults/workers/")
        if worker_id != request.path:
            self._signal(worker_id, await request.json(PLAN_BYTES))
        elif request.method == "POST":
            self._plan = read_plan(await request.json(PLAN_BYTES))
        elif request.method == "DELETE":
            self._plan = FaultPlan()
        await request.answer(200, json.dumps(self._plan.to_json()).encode())

    async def serve(self, request: Request, route: str, serve: Serve) -> None:
        """Serve a request of this route, with whatever the plan has for it."""
        fault = self._plan.decide(route)
        if fault is None:
            await serve(request)
            return
        await asyncio.sleep(fault.latency_s)
        if fault.status is not None:
            await request.answer(fault.status, b'{"error": "injected"}')
        elif fault.drop == "before":
            request.abort()
        else:
            await _serve_and_cut(request, fault, serve)

    def _signal(self, worker_id: str, payload: Any) -> None:
        number = SIGNALS.get(str(payload.get("signal"))) if isinstance(payload, dict) else None
        if number is None:
            raise RequestError(f'expected {{"signal": one of {", ".join(SIGNALS)}}}')
        if not self.send_signal(worker_id, number):
            raise NotFound(f'worker "{worker_id}": not a running process of this gateway')


async def _serve_and_cut(request: Request, fault: Fault, serve: Serve) -> None:
    serving = asyncio.ensure_future(serve(request.answering(_say_nothing) if fault.drop else request))
    try:
        await asyncio.wait((serving,), timeout=fault.cut_after_s)
        if fault.drop or not serving.done():
            request.abort()
    finally:
        if not serving.done():
            serving.cancel()
            await asyncio.wait((serving,))
    if not serving.cancelled():
        serving.result()
