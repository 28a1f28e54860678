"""The OpenAPI description of the gateway's API, made by FastAPI from typed routes.

The routes here describe; those of `build_app` serve. What is mounted beside `/v2` brings its own description
(`further_routes.py`, and the console's). A test compares the two, so that neither has one that the other has not.
Imported only when the description is asked for, since FastAPI takes longer to import than the gateway to start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import Body, Path, Query
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute

from worker_vllm import __version__
from worker_vllm.gateway.api import payloads
from worker_vllm.gateway.api.described_answers import (
    ALWAYS,
    ANY_ANSWER,
    FROM_WORKER,
    FULL,
    NOT_STORED,
    Responses,
    answers_of,
    problems,
)

Endpoint = Annotated[str, Path(description="the endpoint's id", min_length=1)]
Job = Annotated[str, Path(description="the job's id", min_length=1)]
Worker = Annotated[str, Path(description="the worker's id", min_length=1)]
Wait = Annotated[int | None, Query(ge=0, description="how long to wait, in milliseconds")]
Ttl = Annotated[int | None, Query(ge=6_000, le=604_800_000, description="time to live, in milliseconds")]
Batch = Annotated[int, Query(ge=1, le=10_000, description="how many jobs at most")]

DESCRIPTION = (
    "RunPod's API for clients and workers below `/v2`, and what this gateway has beside it: load-balanced endpoints "
    "below `/lb`, workers, requests and the console below `/console/api`. `docs/gateway.md` says what differs."
)


def run(endpoint: Endpoint, job: payloads.JobRequest) -> None:
    """Queue a job; the answer comes at once."""


def runsync(endpoint: Endpoint, job: payloads.JobRequest, wait: Wait = None) -> None:
    """Queue a job and wait for its end, 90 seconds by default."""


def status(endpoint: Endpoint, job_id: Job, ttl: Ttl = None) -> None:
    """The job as it is; `ttl` sets its time to live."""


def status_sync(endpoint: Endpoint, job_id: Job, wait: Wait = None) -> None:
    """The job once it has ended, or when the wait is over."""


def stream(endpoint: Endpoint, job_id: Job, wait: Wait = None) -> None:
    """The pieces of the job's stream since the last call; each is returned once."""


def of_job(endpoint: Endpoint, job_id: Job) -> None:
    """An operation on one job."""


def of_endpoint(endpoint: Endpoint) -> None:
    """An operation on the endpoint."""


def take(endpoint: Endpoint, worker_id: Worker) -> None:
    """A job for this worker, once there is one; 204 when none came in time."""


def take_batch(endpoint: Endpoint, worker_id: Worker, batch_size: Batch = 1) -> None:
    """Up to `batch_size` jobs for this worker, once there is one; 204 when none came in time."""


def stop(endpoint: Endpoint, worker_id: Worker) -> None:
    """The jobs that this worker is to stop, once there is one; 204 when none came in time."""


def report_piece(endpoint: Endpoint, worker_id: Worker, job_id: Job, piece: payloads.PieceReport) -> None:
    """One piece of a job's stream."""


def report_result(endpoint: Endpoint, worker_id: Worker, job_id: Job, result: payloads.ResultReport) -> None:
    """A job's result."""


def ping(
    endpoint: Endpoint,
    worker_id: Worker,
    job_id: Annotated[str, Query(description="the ids of the worker's jobs, with commas between them")] = "",
    status: Annotated[str, Query(description="`unhealthy`: give this worker no jobs")] = "",
) -> None:
    """A worker's heartbeat."""


def openai_get(endpoint: Endpoint, route: Annotated[str, Path(description="for example `models`")]) -> None:
    """A GET route of the model's server, forwarded to a worker."""


def openai_post(
    endpoint: Endpoint,
    route: Annotated[str, Path(description="for example `chat/completions`")],
    body: Annotated[dict[str, Any], Body(description="the body that vLLM's route of this name takes")],
) -> None:
    """A route of the model's server, forwarded to a worker: OpenAI's, Anthropic's, and vLLM's own."""


# Operation → what describes it, its success and the model of that.
Described = tuple[Callable[..., None], type | Any]
DESCRIBED: dict[str, Described] = {
    "run": (run, payloads.JobAccepted),
    "runsync": (runsync, payloads.JobStatus),
    "status": (status, payloads.JobStatus),
    "status-sync": (status_sync, payloads.JobStatus),
    "stream": (stream, payloads.StreamRead),
    "cancel": (of_job, payloads.JobAccepted),
    "retry": (of_job, payloads.JobAccepted),
    "purge-queue": (of_endpoint, payloads.Purged),
    "health": (of_endpoint, payloads.EndpointHealth),
    "metrics": (of_endpoint, payloads.Metrics),
    "requests": (of_endpoint, payloads.Requests),
    "job-take": (take, payloads.JobForWorker),
    "job-take-batch": (take_batch, list[payloads.JobForWorker]),
    "job-stop": (stop, payloads.JobsToStop),
    "job-stream": (report_piece, None),
    "job-done": (report_result, None),
    "ping": (ping, None),
}
STORING = frozenset(
    ("run", "runsync", "status", "stream", "cancel", "retry", "purge-queue", "job-take", "job-take-batch", "job-done")
)
HELD = frozenset({"job-take", "job-take-batch", "job-stop"})  # 204 when the time is over


def describe(
    operations: Sequence[tuple[str, str, str]], unsupported: Sequence[str], further: Sequence[APIRoute] = ()
) -> dict[str, Any]:
    """The description of these operations, given by name, methods and path, and of the paths that answer 501.

    `further` describes what is served beside `/v2`.
    """
    routes: list[APIRoute] = []
    for name, methods, path in operations:
        if name == "openai":
            routes += _openai_routes()
        else:
            routes += [_route(name, method, path) for method in methods.split()]
    routes += [_unsupported(path.replace(":path", "")) for path in unsupported]
    routes += further
    described = get_openapi(title="worker-vllm gateway", version=__version__, description=DESCRIPTION, routes=routes)
    _remove_fastapis_own_422(described)
    return described


def _route(name: str, method: str, path: str) -> APIRoute:
    described, model = DESCRIBED[name]
    statuses = ALWAYS | (FULL if name in ("run", "runsync") else {}) | (NOT_STORED if name in STORING else {})
    none_in_time: Responses = {204: {"description": "none came in time"}} if name in HELD else {}
    return APIRoute(
        f"/v2/{{endpoint}}{path}",
        described,
        methods=[method],
        name=name,
        operation_id=f"{name}-{method.lower()}",
        summary=name,
        response_model=model,
        response_class=Response if model is None else JSONResponse,
        responses=problems(payloads.ErrorAnswer, statuses) | none_in_time,
    )


def _openai_routes() -> list[APIRoute]:
    answer = answers_of(*ANY_ANSWER, text="the worker's answer")
    return [
        APIRoute(
            "/v2/{endpoint}/openai/v1/{route}",
            described,
            methods=[method],
            name="openai",
            operation_id=f"openai-{method.lower()}",
            summary=f"openai, {method}",
            responses=answer | problems(payloads.OpenAIProblem, ALWAYS | FULL | FROM_WORKER),
        )
        for method, described in (("GET", openai_get), ("POST", openai_post))
    ]


def _unsupported(path: str) -> APIRoute:
    def not_here(endpoint: Endpoint) -> None:
        """RunPod has it, this gateway has not: always 501."""

    def not_here_below(endpoint: Endpoint, rest: Annotated[str, Path(min_length=1)]) -> None:
        """RunPod has it, this gateway has not: always 501."""

    return APIRoute(
        f"/v2/{{endpoint}}{path}",
        not_here_below if "{rest}" in path else not_here,
        methods=["POST"],
        name=path,
        operation_id="unsupported" + re.sub(r"\W+", "-", path).rstrip("-"),
        status_code=501,
        response_model=payloads.ErrorAnswer,
        responses=problems(payloads.ErrorAnswer, ALWAYS),
    )


def _remove_fastapis_own_422(described: dict[str, Any]) -> None:
    """FastAPI documents the answer of its own validation; this gateway's is 400."""
    for operations in described["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        described["components"]["schemas"].pop(name, None)
