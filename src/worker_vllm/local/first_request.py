"""The first request to an endpoint: the list of its models, whose answer or error says whether it can serve."""

from __future__ import annotations

import json
import uuid

from worker_vllm.gateway.api.submission import read_openai
from worker_vllm.gateway.options import JobPolicy
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.state.job import Job


async def ask_for_models(endpoint: EndpointRuntime) -> Job:
    """Request the models as a client does; returns the ended job, which fails with a refusing worker's reason."""
    job_id = f"sync-{uuid.uuid4()}-u1"
    submission = read_openai("/v1/models", None, JobPolicy())
    endpoint.perform(endpoint.state.store.submit(job_id, submission, endpoint.clock()))
    job = endpoint.state.store.get(job_id)
    while not job.terminal:
        await endpoint.signals.wait(job_id)
    return job


def error_message(error: str | None) -> str:
    """The sentence in a job's error."""
    try:
        return str(json.loads(error or "")["message"])
    except (ValueError, TypeError, KeyError):
        return error or "the engine gave no reason"


def model_name(job: Job) -> str:
    """The first model of the answer."""
    output = job.output[0] if isinstance(job.output, list) and job.output else job.output
    models = json.loads(output) if isinstance(output, str) else output
    return str(models["data"][0]["id"])
