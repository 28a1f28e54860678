"""Describes the console's API for the gateway's description; the routes here serve nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path
from fastapi.responses import Response
from fastapi.routing import APIRoute

from worker_vllm.console import page_payloads as payloads
from worker_vllm.gateway.api.described_answers import answers_of, route
from worker_vllm.gateway.api.further_payloads import FaultPlanAnswer, FaultPlanRequest
from worker_vllm.gateway.api.further_routes import FAULTS_OFF, NOT_NOW, workers
from worker_vllm.gateway.api.payloads import JobAccepted
from worker_vllm.gateway.fleet.fleet_api import PREFIX as WORKERS

API = "/console/api"
Endpoint = Annotated[str, Path(description="the endpoint's id", min_length=1)]
Job = Annotated[str, Path(description="the job's id", min_length=1)]
Worker = Annotated[str, Path(description="the worker's id", min_length=1)]
BODY = {413: "larger than 500,000 bytes", 415: "expected a body of the type application/json"}
FULL = {503: "too many pages are open already"}


def form() -> None:
    """The form of an endpoint, and the engines that can be started here."""


def check(filled: payloads.FilledForm) -> None:
    """Validate a filled form; 200 whatever the report says."""


def deploy(filled: payloads.FilledForm) -> None:
    """Start an endpoint with the settings of a filled form."""


def stop_deployment(name: Annotated[str, Path(min_length=1)]) -> None:
    """End the workers of an endpoint that was started from the form."""


def job(endpoint: Endpoint, job_id: Job) -> None:
    """Everything about one job, its way with the deliveries of its webhook included."""


def change_job(endpoint: Endpoint, job_id: Job, action: Literal["cancel", "retry"]) -> None:
    """Cancel or retry a job."""


def planted_faults() -> None:
    """The fault plan, with the hits of its rules."""


def plant_faults(plan: FaultPlanRequest) -> None:
    """Set the fault plan."""


def follow() -> None:
    """Server-sent events without end: endpoints, workers, jobs, points of the plots, as they change."""


def tail(worker_id: Worker) -> None:
    """Server-sent events without end: the log of a worker."""


def described_routes() -> list[APIRoute]:
    """Every route below `/console/api`, the workers API included."""
    begun = {202: "begun", **NOT_NOW}
    return [
        route(f"GET {API}/form", form, payloads.FormContent),
        route(f"POST {API}/check", check, payloads.FormReport, BODY),
        route(f"POST {API}/deployments", deploy, payloads.EndpointNamed, BODY | begun),
        route(f"POST {API}/deployments/{{name}}/stop", stop_deployment, payloads.EndpointNamed, begun),
        route(f"GET {API}/jobs/{{endpoint}}/{{job_id}}", job, payloads.JobPage),
        route(f"POST {API}/jobs/{{endpoint}}/{{job_id}}/{{action}}", change_job, JobAccepted),
        route(f"GET {API}/faults", planted_faults, FaultPlanAnswer, FAULTS_OFF),
        route(f"POST {API}/faults", plant_faults, FaultPlanAnswer, FAULTS_OFF | BODY),
        _without_end(route(f"GET {API}/feed", follow, None, FULL)),
        _without_end(route(f"GET {API}/workers/{{worker_id}}/tail", tail, None)),
        *workers(WORKERS),
    ]


def _without_end(stream: APIRoute) -> APIRoute:
    stream.responses |= answers_of("text/event-stream", text="events, one after the other")
    stream.response_class = Response
    return stream
