"""The console's own routes, below /console/api; the page calls the gateway's public API for everything else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from worker_vllm.console import feed
from worker_vllm.console.deploy.deploy_form import DeployRequest, form_document, read_deploy_request
from worker_vllm.console.deploy.deployments import Deployments
from worker_vllm.console.deploy.validation_report import validate
from worker_vllm.console.jobs.job_view import page
from worker_vllm.console.state import ConsoleState, is_multimodal
from worker_vllm.errors import NotFound, RequestError
from worker_vllm.gateway.faults import read_plan
from worker_vllm.gateway.fleet.fleet_api import answer

LARGEST_BODY = 500_000
ENGINE_TEXTS = {
    "echo": ("Echo", "Repeats what you write: a stand-in that is ready in a second and needs no model."),
    "vllm": ("vLLM", "The real engine with the model of the form; an empty model is the embedded one."),
}
NOT_INSTALLED = " (not installed here)"


class ConsoleRoutes:
    """One method per route."""

    def __init__(self, state: ConsoleState) -> None:
        self._state = state
        self.routes = [
            Route("/feed", self.follow),
            Route("/form", self.form),
            Route("/check", self.check, methods=["POST"]),
            Route("/deployments", self.deploy, methods=["POST"]),
            Route("/deployments/{name}/stop", self.stop_deployment, methods=["POST"]),
            Route("/jobs/{endpoint}/{job_id}", self.job),
            Route("/jobs/{endpoint}/{job_id}/{action}", self.change_job, methods=["POST"]),
            Route("/workers/{worker_id}/tail", self.worker_log),
            Route("/workers", self.workers, methods=["GET", "POST"]),
            Route("/workers/{rest:path}", self.workers, methods=["GET", "POST"]),
            Route("/faults", self.faults, methods=["GET", "POST"]),
        ]

    async def follow(self, request: Request) -> Response:
        """The live feed."""
        feed.check_readers(self._state)
        hello = {
            "faults": self._state.host.gateway.faults is not None,
            "deploys": self._state.host.deployments is not None,
        }
        return _event_stream(feed.follow(self._state, hello))

    async def form(self, request: Request) -> Response:
        """The form, and the engines that can be started here."""
        engines = []
        for engine, (title, help_text) in ENGINE_TEXTS.items():
            installed = engine in self._state.host.engines
            shown = title if installed else title + NOT_INSTALLED
            engines.append({"id": engine, "title": shown, "help": help_text, "installed": installed})
        return JSONResponse({**await asyncio.to_thread(form_document), "engines": engines})

    async def check(self, request: Request) -> Response:
        """Validate a filled form; 200 whatever the report says."""
        return JSONResponse(await self._validate(read_deploy_request(await _read_json(request))))

    async def deploy(self, request: Request) -> Response:
        """Start an endpoint; 400 with the report for a form with problems."""
        asked = read_deploy_request(await _read_json(request))
        deployments = self._deployments()
        if asked.engine not in self._state.host.engines:
            raise RequestError(f'engine "{asked.engine}": not installed here; `make run` in a checkout installs vLLM')
        report = await self._validate(asked)
        if not report["ok"]:
            return JSONResponse({"error": report["problems"][0]["text"], **report}, 400)
        attached = {name for name, runtime in self._state.endpoints.items() if runtime.state.fleet.workers()}
        taken = frozenset(attached | set(self._state.host.balanced())) - deployments.names()
        vision = await asyncio.to_thread(is_multimodal, asked.engine, asked.environment, self._state.host.inspect)
        deployments.start(asked, taken, vision=vision)
        return JSONResponse({"name": asked.name}, 202)

    async def stop_deployment(self, request: Request) -> Response:
        """End an endpoint's workers."""
        await self._deployments().stop(request.path_params["name"])
        return JSONResponse({"name": request.path_params["name"]}, 202)

    async def job(self, request: Request) -> Response:
        """Everything about one job."""
        name, job_id = request.path_params["endpoint"], request.path_params["job_id"]
        found = self._state.endpoint(name).state.store.get(job_id)
        return JSONResponse(
            {**page(found, self._state.histories[name].trace(job_id), self._state.wall), "endpoint": name}
        )

    async def change_job(self, request: Request) -> Response:
        """Cancel or retry a job."""
        runtime, job_id = self._state.endpoint(request.path_params["endpoint"]), request.path_params["job_id"]
        change = {"cancel": runtime.state.store.cancel, "retry": runtime.state.store.retry}.get(
            request.path_params["action"]
        )
        if change is None:
            raise NotFound(f"{request.url.path}: expected cancel or retry after the job's id")
        runtime.perform(change(job_id, runtime.clock()))
        return JSONResponse({"id": job_id, "status": runtime.state.store.get(job_id).status.value})

    async def worker_log(self, request: Request) -> Response:
        """The log of a worker, live."""
        worker_id = request.path_params["worker_id"]
        self._state.host.fleet.log(worker_id, 0)  # raises NotFound
        return _event_stream(feed.follow_log(self._state, worker_id))

    async def workers(self, request: Request) -> Response:
        """The workers API: what can be seen of workers, and done to them."""
        status, payload = await answer(self._state.host.fleet, request.method, request.url.path, request.query_params)
        return JSONResponse(payload, status)

    async def faults(self, request: Request) -> Response:
        """The fault plan, or a new one; 409 where the gateway was started without --faults."""
        api = self._state.host.gateway.faults
        if api is None:
            raise RequestError("faults are off: start with --faults", status=409)
        if request.method == "POST":
            api.plan = read_plan(await _read_json(request))
        return JSONResponse(api.plan.to_json())

    async def _validate(self, asked: DeployRequest) -> dict[str, Any]:
        return await asyncio.to_thread(validate, asked, self._state.host.inspect)

    def _deployments(self) -> Deployments:
        if self._state.host.deployments is None:
            raise RequestError("this gateway starts no workers: `worker-vllm local` does", status=409)
        return self._state.host.deployments


async def _read_json(request: Request) -> Any:
    """The body as JSON. Raises RequestError: 413 for a large one, 415 for another type, 400 for other text."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise RequestError("expected a body of the type application/json", status=415)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise RequestError(f"expected at most {LARGEST_BODY} bytes", status=413)
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}") from None


def _event_stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})
