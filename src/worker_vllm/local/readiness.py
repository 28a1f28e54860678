"""Whether the workers of `worker-vllm local` can serve: both ask for the models, as a client's first request does."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import aiohttp

from worker_vllm.gateway.api.submission import read_openai
from worker_vllm.gateway.load_balancing.affinity import Affinity
from worker_vllm.gateway.load_balancing.balancer import LoadBalancer
from worker_vllm.gateway.load_balancing.edge_answers import EdgeAnswer
from worker_vllm.gateway.load_balancing.pool import PoolHealth
from worker_vllm.gateway.options import JobPolicy
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.state.job import Job, Status
from worker_vllm.local.fleet.worker_process import WorkersFailed

RETRY_S = 0.2


async def model_of_queue(endpoint: EndpointRuntime) -> str:
    """The model's name, once a worker serves it. Raises WorkersFailed: an engine that cannot start says why."""
    job_id = f"sync-{uuid.uuid4()}-u1"
    submission = read_openai("/v1/models", None, JobPolicy())
    endpoint.perform(endpoint.state.store.submit(job_id, submission, endpoint.clock()))
    job = endpoint.state.store.get(job_id)
    while not job.terminal:
        await endpoint.signals.wait(job_id)
    if job.status is not Status.COMPLETED:
        raise WorkersFailed(_error_message(job.error))
    return _first_model(_output(job))


async def model_of_balancer(balancer: LoadBalancer) -> str:
    """The model's name, once a worker serves it. Raises WorkersFailed when one reports that it cannot."""
    refused = asyncio.ensure_future(_refusal(balancer))
    asked = asyncio.ensure_future(_ask_for_models(balancer))
    try:
        await asyncio.wait({refused, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():
            raise WorkersFailed(refused.result())
        return asked.result()
    finally:
        for task in (refused, asked):
            task.cancel()
        await asyncio.wait({refused, asked})


async def _ask_for_models(balancer: LoadBalancer) -> str:
    while True:
        try:
            async with balancer.assigned(Affinity()) as worker:
                headers = {"Authorization": f"Bearer {worker.address.key}"}
                url = f"{worker.address.requests}/v1/models"
                async with balancer.session.get(url, headers=headers) as response:
                    if response.ok:
                        return _first_model(await response.json())
        except (EdgeAnswer, aiohttp.ClientError, OSError):
            pass  # a start may take longer than a request may wait
        await asyncio.sleep(RETRY_S)


async def _refusal(balancer: LoadBalancer) -> str:
    """The diagnosis of the first worker that reports itself unhealthy before any was ready."""
    while True:
        for worker in balancer.pool.workers():
            if worker.health is PoolHealth.UNHEALTHY:
                return await _diagnosis(balancer, worker.address.health)
        await asyncio.sleep(RETRY_S)


async def _diagnosis(balancer: LoadBalancer, url: str) -> str:
    try:
        async with balancer.session.get(url) as response:
            text = await response.text()
    except (aiohttp.ClientError, OSError) as error:
        return f"its health path does not answer: {error}"
    return _error_message(text)


def _error_message(error: str | None) -> str:
    try:
        payload = json.loads(error or "")
        return str(payload.get("message") or payload["diagnosis"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return error or "the engine gave no reason"


def _output(job: Job) -> Any:
    output = job.output[0] if isinstance(job.output, list) and job.output else job.output
    return json.loads(output) if isinstance(output, str) else output


def _first_model(models: Any) -> str:
    return str(models["data"][0]["id"])
