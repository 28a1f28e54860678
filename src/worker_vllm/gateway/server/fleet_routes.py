"""The workers API as routes of the gateway's application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from worker_vllm.gateway.fleet.fleet_api import PREFIX, answer
from worker_vllm.gateway.fleet.fleet_control import FleetControl

if TYPE_CHECKING:
    from fastapi.routing import APIRoute


def fleet_routes(control: FleetControl) -> list[BaseRoute]:
    """The routes below /console/api/workers; they come before any that takes everything below /console."""

    async def serve(request: Request) -> Response:
        status, payload = await answer(control, request.method, request.url.path, request.query_params)
        return JSONResponse(payload, status)

    routes = [Route(PREFIX, serve), Route(PREFIX + "/{rest:path}", serve)]
    for route in routes:
        route.methods = set()  # every method: `answer` refuses the others
    return list(routes)


def describe_fleet() -> list[APIRoute]:
    """What the description says of them."""
    from worker_vllm.gateway.api.further_routes import workers

    return workers(PREFIX)
