"""The bodies of what is served beside `/v2`, as types for the description; imported only with it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from worker_vllm.gateway.api.payloads import Count
from worker_vllm.gateway.fleet.fleet_control import FleetEvent, LogRecord, WorkerView
from worker_vllm.gateway.request_record import RequestRecord

Positive = Annotated[float, Field(ge=0, le=86_400)]


class FinishedRequests(BaseModel):
    """The requests after the number that was given; `next` is the one to give next."""

    requests: list[RequestRecord]
    next: Count


class FleetState(BaseModel):
    """The workers, the policy and load of every endpoint that is scaled, and the last events."""

    now: float
    workers: list[WorkerView]
    scaling: list[dict[str, Any]]
    events: list[FleetEvent]


class LogLines(BaseModel):
    """The lines after the number that was given; `next` is the one to give next."""

    lines: list[LogRecord]
    next: Count


class OperationBegun(BaseModel):
    """What was begun."""

    id: str
    operation: str


class FaultRule(BaseModel):
    """A fault of the requests of one operation, `*` for all."""

    model_config = ConfigDict(extra="forbid")

    route: str
    probability: Positive = 1.0
    times: Count | None = None
    latency_s: Positive = 0.0
    status: Annotated[int, Field(ge=200, le=599)] | None = None


class FaultPlanRequest(BaseModel):
    """The rules, and the seed that makes them repeatable."""

    seed: int = 0
    rules: list[FaultRule]


class HitRule(FaultRule):
    """A rule, and how often it was applied."""

    hits: Count = 0


class FaultPlanAnswer(BaseModel):
    """The plan as it stands."""

    seed: int
    rules: list[HitRule]


class SignalRequest(BaseModel):
    """The signal for a worker."""

    signal: Literal["KILL", "TERM", "STOP", "CONT"]


class EdgeProblem(BaseModel):
    """What is wrong: the load balancer's words, or the worker's own error."""

    model_config = ConfigDict(extra="allow")

    error: Any
