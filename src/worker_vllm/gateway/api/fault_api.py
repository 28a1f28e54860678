"""Fault injection into requests, and the routes that set the fault plan; only with `--faults`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Callable
from typing import Any

from worker_vllm.errors import NotFound, RequestError
from worker_vllm.gateway.faults import Fault, FaultPlan, read_plan
from worker_vllm.gateway.server.request import GatewayRequest, PendingResponse

PLAN_BYTES = 1_000_000
SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "STOP": signal.SIGSTOP, "CONT": signal.SIGCONT}

Serve = Callable[[GatewayRequest], PendingResponse]


class FaultApi:
    """`/faults` holds the plan; `/faults/workers/{id}` sends a signal to a worker that this process started."""

    def __init__(self) -> None:
        self._plan = FaultPlan()
        self.send_signal: Callable[[str, int], bool] = lambda worker_id, number: False

    def control(self, request: GatewayRequest) -> None:
        """GET, POST or DELETE the plan; POST a signal."""
        request.expect_method("GET POST DELETE")
        worker_id = request.path.removeprefix("/faults/workers/")
        if worker_id != request.path:
            request.expect_method("POST")
            self._signal(worker_id, request.json(PLAN_BYTES))
        elif request.method == "POST":
            self._plan = read_plan(request.json(PLAN_BYTES))
        elif request.method == "DELETE":
            self._plan = FaultPlan()
        request.answer(200, json.dumps(self._plan.to_json()).encode())

    def serve(self, request: GatewayRequest, route: str, serve: Serve) -> PendingResponse:
        """Serve a request of this route and inject the fault that the plan has for it."""
        fault = self._plan.decide(route)
        return serve(request) if fault is None else _inject(request, fault, serve)

    def _signal(self, worker_id: str, payload: Any) -> None:
        number = SIGNALS.get(str(payload.get("signal"))) if isinstance(payload, dict) else None
        if number is None:
            raise RequestError(f'expected {{"signal": one of {", ".join(SIGNALS)}}}')
        if not self.send_signal(worker_id, number):
            raise NotFound(f'worker "{worker_id}": not a running process of this gateway')


async def _inject(request: GatewayRequest, fault: Fault, serve: Serve) -> None:
    await asyncio.sleep(fault.latency_s)
    if fault.status is not None:
        request.answer(fault.status, b'{"error": "injected"}')
    elif fault.drop == "before":
        request.abort()
    elif fault.drop == "after":
        request.mute()
        await _complete(request, serve)
        request.abort()
    else:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(fault.cut_after_s):
                await _complete(request, serve)
            return
        request.abort()


async def _complete(request: GatewayRequest, serve: Serve) -> None:
    waiting = serve(request)
    if waiting is not None:
        await waiting
