"""What the descriptions of several routes share: statuses, and a route itself. Imported only with the description."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi.routing import APIRoute

from worker_vllm.gateway.api.payloads import ErrorAnswer

Responses = dict[int | str, dict[str, Any]]

ALWAYS = {
    400: "the request cannot be read, or is too large",
    401: "the key is missing or wrong",
    403: "a web page or a host name that may not call",
    404: "no such endpoint, job or route",
    405: "another method is expected",
}
FULL = {429: "the queue, or the memory for jobs, is full"}
NOT_STORED = {503: "the job cannot be stored"}
FROM_WORKER = {
    413: "larger than the model's server takes",
    422: "a value that the model's server does not take",
    424: "the engine hung with this request",
    499: "the job was cancelled",
    500: "the job failed",
    502: "the engine failed",
    503: "the worker is not ready, or the job cannot be stored",
    504: "the job ran for too long",
}
ANY_ANSWER = ("application/json", "text/event-stream", "application/octet-stream")


def problems(model: type, statuses: Mapping[int, str]) -> Responses:
    """The statuses of refusals, each with the body of this model."""
    return {status: {"model": model, "description": text} for status, text in statuses.items()}


def answers_of(*kinds: str, text: str) -> Responses:
    """A 200 with a body of one of these content types."""
    return {200: {"description": text, "content": {kind: {} for kind in kinds}}}


def route(asked: str, described: Callable[..., None], model: Any, more: Mapping[int, str] | None = None) -> APIRoute:
    """A route that answers with JSON; `asked` is method and path, `more` the statuses besides those of all routes.

    The name of `described` names the operation. A 202 in `more` is its success, 200 otherwise.
    """
    method, path = asked.split()
    statuses = {**ALWAYS, **(more or {})}
    success = 202 if statuses.pop(202, None) else 200
    name = described.__name__.replace("_", "-")
    return APIRoute(
        path,
        described,
        methods=[method],
        name=name,
        operation_id=name,
        summary=name,
        status_code=success,
        response_model=model,
        responses=problems(ErrorAnswer, statuses),
    )
