"""Parses a raw job into one of two typed jobs, or raises a typed error before any request to the engine.

Input forms: native (`prompt` or `messages`), OpenAI (`openai_route` + `openai_input`), generic (`route` + `body`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker_vllm.errors import RequestError
from worker_vllm.jobs.output.batching import BatchPolicy
from worker_vllm.jobs.request.batch_options import asks_for_batches, parse_batch_policy
from worker_vllm.jobs.request.native import NativeJob, parse_native
from worker_vllm.jobs.request.routes import Route, find_route
from worker_vllm.settings.types import JobSettings

FORM_KEYS = ("openai_route", "openai_input", "route", "body", "method")


@dataclass(frozen=True, slots=True)
class RouteJob:
    """A request for one of the engine's own routes; `body` is None for a GET."""

    route: Route
    body: Any
    batches: BatchPolicy | None  # batch sizes set by the operator or the job; None for none

    @property
    def stream(self) -> bool:
        """Whether the response is a stream of events."""
        return isinstance(self.body, Mapping) and bool(self.body.get("stream"))


def parse_job(job: Mapping[str, Any], settings: JobSettings) -> NativeJob | RouteJob:
    """The job in `job["input"]`. Raises RequestError or NotFound."""
    if refused := job.get("refused"):
        raise RequestError(str(refused), param="input")
    given = job.get("input")
    if not isinstance(given, Mapping):
        raise RequestError(f"input: expected an object, got {type(given).__name__}", param="input")
    if given.get("openai_route"):
        return _route_job(given, settings, ("openai_route", "openai_input"))
    if given.get("route"):
        return _route_job(given, settings, ("route", "body"))
    absent = [key for key in FORM_KEYS if given.get(key, 0) in (None, "")]  # fields of the other forms, sent empty
    return parse_native({key: value for key, value in given.items() if key not in absent}, settings)


def engine_fields(job: NativeJob | RouteJob) -> Mapping[str, Any]:
    """The job's request as fields of the engine's own routes, for the check of limits."""
    if isinstance(job, RouteJob):
        return job.body if isinstance(job.body, Mapping) else {}
    ranking = job.sampling.ranking
    width = {"n": ranking.width} if ranking else {}
    return {**job.sampling.fields, **job.tools, **width}


def policy_fields(job: NativeJob | RouteJob) -> Mapping[str, Any]:
    """The parts of the job's request that the endpoint's policy is about: its media and its templates."""
    if isinstance(job, RouteJob):
        return engine_fields(job)
    return {**job.template, "messages": list(job.messages or ())}


def _route_job(given: Mapping[str, Any], settings: JobSettings, keys: tuple[str, str]) -> RouteJob:
    route = find_route(
        given[keys[0]],
        given.get("method"),
        lora_updates=settings.allow_lora_updates,
        tokenizer_info=settings.tokenizer_info,
    )
    body = given.get(keys[1])
    if route.method == "GET":
        body = None
    elif body is None:
        body = {}
    exact = settings.batch_sizes_set or asks_for_batches(given) or not settings.raw_openai_output
    return RouteJob(route, body, parse_batch_policy(given, settings) if exact else None)
