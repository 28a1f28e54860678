"""Fault injection into requests, and the routes that set the fault plan; only with `--faults`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker_vllm.errors import NotFound, RequestError
from worker_vllm.gateway.faults import FaultPlan, read_plan
from worker_vllm.gateway.server.request import GatewayRequest
from worker_vllm.gateway.server.response import GatewayResponse

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

PLAN_BYTES = 1_000_000
SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "STOP": signal.SIGSTOP, "CONT": signal.SIGCONT}


class FaultApi:
    """`/faults` holds the plan; `/faults/workers/{id}` sends a signal to a worker that this process started."""

    def __init__(self) -> None:
        self.plan = FaultPlan()
        self.send_signal: Callable[[str, int], bool] = lambda worker_id, number: False
        self.routes = (
            Route("/faults", self.control, methods=["GET", "POST", "DELETE"]),
            Route("/faults/workers/{worker_id}", self.signal, methods=["POST"]),
        )

    def describe(self) -> list[APIRoute]:
        """What the description says of these routes."""
        from worker_vllm.gateway.api.further_routes import fault_plan

        return fault_plan()

    async def control(self, request: Request) -> Response:
        """GET, POST or DELETE the plan."""
        if request.method == "POST":
            self.plan = read_plan(await _json(request))
        elif request.method == "DELETE":
            self.plan = FaultPlan()
        return JSONResponse(self.plan.to_json())

    async def signal(self, request: Request) -> Response:
        """POST a signal for a worker."""
        worker_id, payload = request.path_params["worker_id"], await _json(request)
        number = SIGNALS.get(str(payload.get("signal"))) if isinstance(payload, dict) else None
        if number is None:
            raise RequestError(f'expected {{"signal": one of {", ".join(SIGNALS)}}}')
        if not self.send_signal(worker_id, number):
            raise NotFound(f'worker "{worker_id}": not a running process of this gateway')
        return JSONResponse(self.plan.to_json())

    async def inject(self, operation: str) -> Response | None:
        """Delay a request of this operation as the plan says; returns the response that the plan has for it."""
        fault = self.plan.decide(operation)
        if fault is None:
            return None
        await asyncio.sleep(fault.latency_s)
        return None if fault.status is None else GatewayResponse(fault.status, b'{"error": "injected"}')


async def _json(request: Request) -> Any:
    incoming = GatewayRequest(request.scope, request.receive)
    await incoming.read_body(PLAN_BYTES)
    return incoming.json(PLAN_BYTES)
