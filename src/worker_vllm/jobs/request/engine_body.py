"""A native job as requests to the engine, and the chat route's responses converted to the completions form.

The completions route is preferred: with a reasoning or a tool parser, the chat route removes text from the content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker_vllm.engine.interface import EngineRequest
from worker_vllm.jobs.request.engine_request import json_request
from worker_vllm.jobs.request.native import NativeJob
from worker_vllm.jobs.request.routes import CHAT, COMPLETIONS, TOKENIZE, Route, find_route

CONTINUOUS_USAGE = {"include_usage": True, "continuous_usage_stats": True}


def generation_route(job: NativeJob) -> Route:
    """The route that generates for this job."""
    return find_route(CHAT if job.needs_chat else COMPLETIONS)


def tokenize_request(job: NativeJob) -> EngineRequest:
    """The request that renders the job's messages with the model's chat template, as token ids."""
    return json_request(TOKENIZE, {"messages": job.messages, **job.template, **_model(job)})


def generation_body(job: NativeJob, prompt: str | list[int] | None) -> dict[str, Any]:
    """The body of the generation request, for `prompt`, or for the job's messages on the chat route."""
    fields = dict(job.sampling.fields)
    if "token_ids" in job.include:
        fields["return_token_ids"] = True
    if not job.needs_chat:
        return {"prompt": prompt, **fields, **_model(job)}
    logprobs = fields.pop("logprobs", None)
    if logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": logprobs}
    return {"messages": job.messages, **fields, **job.template, **job.tools, **_model(job)}


def as_completion(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """A response or an event of either route in the completions form."""
    choices = answer.get("choices") or []
    if not any("message" in choice or "delta" in choice for choice in choices):
        return answer
    return {**answer, "choices": [_choice(choice) for choice in choices]}


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    message = choice.get("message") or choice.get("delta") or {}
    extras = {key: message.get(key) for key in ("tool_calls", "reasoning")}
    return {**choice, "text": message.get("content") or "", **extras}


def _model(job: NativeJob) -> dict[str, Any]:
    return {} if job.model is None else {"model": job.model}
