"""Describes what is served beside `/v2`: load-balanced endpoints, workers, finished requests, faults.

As in `description.py`, the routes here describe and serve nothing. Imported only when the description is asked for.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Path, Query
from fastapi.routing import APIRoute

from worker_vllm.gateway.api import further_payloads, payloads
from worker_vllm.gateway.api.described_answers import ALWAYS, ANY_ANSWER, FROM_WORKER, answers_of, problems, route
from worker_vllm.gateway.fleet.fleet_control import WorkerOperation, WorkerView

Endpoint = Annotated[str, Path(description="the endpoint's id", min_length=1)]
Below = Annotated[str, Path(description="the path that the worker gets, for example `v1/models`", min_length=1)]
AnyBody = Annotated[dict[str, Any], Body(description="the body that the worker's route takes")]
Worker = Annotated[str, Path(description="the worker's id", min_length=1)]
After = Annotated[int, Query(ge=0, description="leave out what has this number, or a smaller one")]
EDGE = {
    400: "the request cannot be read, or no worker was ready in time",
    404: "no such endpoint, worker or route",
    413: "larger than 30 MB",
    415: "a body of another type is expected",
    429: "too many requests wait or run",
    502: "the worker was lost, refuses connections, or answers more than 30 MB",
    524: "the worker took longer than 5.5 minutes",
}
NOT_NOW = {409: "its state, or this gateway, does not permit it"}
FAULTS_OFF = {409: "faults are off: start with --faults"}


def description_route() -> APIRoute:
    """`/openapi.json` itself."""

    def description() -> None:
        """This description."""

    statuses = problems(payloads.ErrorAnswer, {status: ALWAYS[status] for status in (401, 403, 405)})
    return APIRoute("/openapi.json", description, name="description", response_model=dict, responses=statuses)


def balanced() -> list[APIRoute]:
    """The routes of load-balanced endpoints. Other methods and WebSockets are forwarded too."""

    def get(endpoint: Endpoint, path: Below) -> None:
        """A GET that a worker of this endpoint answers."""

    def post(
        endpoint: Endpoint,
        path: Below,
        body: AnyBody,
    ) -> None:
        """A POST that a worker of this endpoint answers: OpenAI's routes, Anthropic's, and vLLM's own."""

    answer = answers_of(*ANY_ANSWER, "text/plain", text="the worker's answer")
    statuses = {**ALWAYS, **FROM_WORKER, **EDGE}
    answer |= problems(further_payloads.EdgeProblem, statuses) | {204: {"description": "the worker is starting"}}
    return [
        APIRoute(
            "/lb/{endpoint}/{path}",
            described,
            methods=[method],
            name="load balancing",
            operation_id=f"load-balancing-{method.lower()}",
            summary=f"load balancing, {method}",
            responses=answer,
        )
        for method, described in (("GET", get), ("POST", post))
    ]


def request_log(path: str) -> list[APIRoute]:
    """The finished requests, at this path."""

    def finished_requests(after: After = 0) -> None:
        """The last finished requests, without prompts and answers: what `worker-vllm jobs` prints."""

    return [route(f"GET {path}", finished_requests, further_payloads.FinishedRequests)]


def workers(prefix: str) -> list[APIRoute]:
    """The workers API, below this path."""

    def all_workers() -> None:
        """The workers, the scaling and its last events."""

    def one_worker(worker_id: Worker) -> None:
        """One worker."""

    def worker_log(worker_id: Worker, after: After = 0) -> None:
        """The last lines of a worker's log: what `worker-vllm logs` prints."""

    def operate_worker(worker_id: Worker, operation: WorkerOperation) -> None:
        """Begin to drain, kill, freeze or thaw a worker."""

    begun = {202: "begun", **NOT_NOW}
    return [
        route(f"GET {prefix}", all_workers, further_payloads.FleetState),
        route(f"GET {prefix}/{{worker_id}}", one_worker, WorkerView),
        route(f"GET {prefix}/{{worker_id}}/log", worker_log, further_payloads.LogLines),
        route(f"POST {prefix}/{{worker_id}}/{{operation}}", operate_worker, further_payloads.OperationBegun, begun),
    ]


def fault_plan() -> list[APIRoute]:
    """The routes of `--faults`."""

    def show_faults() -> None:
        """The plan, with the hits of its rules."""

    def set_faults(plan: further_payloads.FaultPlanRequest) -> None:
        """Set the plan."""

    def end_faults() -> None:
        """End the plan."""

    def signal_worker(worker_id: Worker, asked: further_payloads.SignalRequest) -> None:
        """Send a signal to a worker that this gateway has started."""

    answer = further_payloads.FaultPlanAnswer
    return [
        route("GET /faults", show_faults, answer),
        route("POST /faults", set_faults, answer),
        route("DELETE /faults", end_faults, answer),
        route("POST /faults/workers/{worker_id}", signal_worker, answer),
    ]
