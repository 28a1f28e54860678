"""A native job as requests to the engine, and the chat route's answers in the form of the completions route.

Completions are the rule: the chat route hides text once the server has a reasoning or a tool parser.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker_vllm.jobs.request.engine_request import Ask, json_ask
from worker_vllm.jobs.request.native import NativeJob
from worker_vllm.jobs.request.routes import CHAT, COMPLETIONS, TOKENIZE, Route, find_route

CONTINUOUS_USAGE = {"include_usage": True, "continuous_usage_stats": True}


def generation_route(job: NativeJob) -> Route:
    """The route that generates for this job."""
    return find_route(CHAT if job.needs_chat else COMPLETIONS)


def template_ask(job: NativeJob) -> Ask:
    """The question for the tokens that the model's chat template makes of the job's messages."""
    return json_ask(TOKENIZE, {"messages": job.messages, **job.template, **_model(job)})


def generation_body(job: NativeJob, prompt: str | list[int] | None) -> dict[str, Any]:
    """The body of the generation: of `prompt`, or of the job's messages on the chat route."""
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
    """An answer or an event of either route in the completions form."""
    choices = answer.get("choices") or []
    if not any("message" in choice or "delta" in choice for choice in choices):
        return answer
    return {**answer, "choices": [_choice(choice) for choice in choices]}


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    said = choice.get("message") or choice.get("delta") or {}
    extras = {key: said.get(key) for key in ("tool_calls", "reasoning")}
    return {**choice, "text": said.get("content") or "", **extras}


def _model(job: NativeJob) -> dict[str, Any]:
    return {} if job.model is None else {"model": job.model}
