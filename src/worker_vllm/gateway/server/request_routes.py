"""GET /console/api/requests: the last finished requests, read by `worker-vllm jobs`. No prompts, no answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from worker_vllm.errors import RequestError
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.request_log import RequestLog

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

PATH = "/console/api/requests"


def request_routes(log: RequestLog) -> list[BaseRoute]:
    """The route; it comes before one that takes everything below /console/api. `?after=N` leaves out the first N."""

    async def serve(request: Request) -> Response:
        text = request.query_params.get("after", "0")
        if not text.isdecimal():
            raise RequestError(f'after="{text}": expected the number of a request, as `next` of the answer before')
        found = log.since(int(text))
        last = found[-1].number if found else int(text)
        return JSONResponse({"requests": [asdict(one) for one in found], "next": last})

    return [Route(PATH, serve, methods=["GET"])]


def recorded_requests(gateway: Gateway) -> list[BaseRoute]:
    """The route of a new log that follows this gateway."""
    log = RequestLog()
    log.follow(gateway)
    return request_routes(log)


def describe_requests() -> list[APIRoute]:
    """What the description says of it."""
    from worker_vllm.gateway.api.further_routes import request_log

    return request_log(PATH)
