"""Builds the generation and the response format of a request from its body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker_vllm.echo import tokens as vocabulary
from worker_vllm.echo.generation import Generation, GenerationLimits
from worker_vllm.echo.routes import body as fields
from worker_vllm.echo.routes.answer import Answer, Dialect
from worker_vllm.echo.routes.chat import Chat
from worker_vllm.echo.routes.completion import Completion
from worker_vllm.echo.routes.messages import Messages
from worker_vllm.echo.routes.responses import Responses
from worker_vllm.echo.script import Script, override, split_directive
from worker_vllm.errors import RequestError


@dataclass(frozen=True, slots=True)
class Context:
    """What a request needs besides its body: served names, the engine's limits, the script so far, its id."""

    names: tuple[str, ...]
    engine_limits: fields.EngineLimits
    script: Script
    id: str  # without the route's prefix
    created: int


Prompts = tuple[tuple[int, ...], ...]


def _generation(
    body: Mapping[str, Any], context: Context, prompts: Prompts, *, default: int | None = None
) -> Generation:
    """The generation that repeats each prompt's text, with the body's limits and the script of all sources."""
    script = context.script
    if isinstance(body.get("echo"), Mapping):
        script = override(script, body["echo"])
    replies = []
    for prompt in prompts:
        changes, reply = split_directive(vocabulary.reply_text(prompt))
        script = override(script, changes)
        replies.append(reply)
    limits: GenerationLimits = fields.limits(body, max(map(len, prompts)), context.engine_limits, default)
    return Generation(prompts, tuple(replies), limits, script, fields.sequences(body))


def _stream_usage(body: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether usage was requested, and whether in every event."""
    options = body.get("stream_options")
    if not options:
        return False, False
    if not isinstance(options, Mapping):
        raise fields.invalid("stream_options", "Input should be a valid dictionary")
    if not body.get("stream"):
        raise RequestError(
            "Stream options can only be defined when `stream=True`. (parameter=stream_options)",
            param="stream_options",
        )
    include = bool(options.get("include_usage"))
    return include, include and bool(options.get("continuous_usage_stats"))


def chat(body: Mapping[str, Any], context: Context) -> tuple[Dialect, Generation]:
    """/v1/chat/completions."""
    model = fields.check_model(body, context.names)
    prompt = vocabulary.render(fields.messages(body), generation_prompt=body.get("add_generation_prompt", True))
    generation = _with_reasoning_field(_generation(body, context, (tuple(prompt),)))
    answer = Answer(f"chatcmpl-{context.id}", context.created, model, generation)
    include, continuous = _stream_usage(body)
    logprobs = fields.logprobs(body, "top_logprobs") if body.get("logprobs") else None
    token_ids = bool(body.get("return_token_ids"))
    return Chat(answer, "assistant", include, continuous, logprobs, token_ids), generation


def _with_reasoning_field(generation: Generation) -> Generation:
    return Generation(
        generation.prompts, generation.replies, generation.limits, generation.script, generation.n, True
    )


def completion(body: Mapping[str, Any], context: Context) -> tuple[Dialect, Generation]:
    """/v1/completions."""
    model = fields.check_model(body, context.names)
    generation = _generation(body, context, fields.prompts(body), default=16)
    answer = Answer(f"cmpl-{context.id}", context.created, model, generation)
    include, continuous = _stream_usage(body)
    logprobs = None if body.get("logprobs") is None else fields.logprobs(body, "logprobs")
    token_ids = bool(body.get("return_token_ids"))
    return Completion(answer, include, continuous, logprobs, token_ids, body.get("echo") is True), generation


def messages(body: Mapping[str, Any], context: Context) -> tuple[Dialect, Generation]:
    """/v1/messages."""
    model = fields.check_model(body, context.names)
    if body.get("max_tokens") is None:
        raise fields.invalid("max_tokens", "Field required")
    prompt = messages_prompt(body)
    wanted = {**body, "stop": body.get("stop_sequences"), "n": 1}
    generation = _with_reasoning_field(_generation(wanted, context, (tuple(prompt),)))
    return Messages(Answer(f"chatcmpl-{context.id}", context.created, model, generation)), generation


def messages_prompt(body: Mapping[str, Any]) -> list[int]:
    """The prompt of an Anthropic body: its system text, then the messages."""
    system = vocabulary.content_text(body.get("system"))
    opening = [{"role": "system", "content": system}] if system else []
    return vocabulary.render([*opening, *fields.messages(body)])


def responses(body: Mapping[str, Any], context: Context) -> tuple[Dialect, Generation]:
    """/v1/responses."""
    model = fields.check_model(body, context.names)
    given = body.get("input")
    chat = [{"role": "user", "content": given}] if isinstance(given, str) else fields.messages(body, "input")
    instructions = body.get("instructions")
    opening = [{"role": "system", "content": instructions}] if instructions else []
    wanted = {**body, "max_tokens": body.get("max_output_tokens"), "n": 1}
    generation = _generation(wanted, context, (tuple(vocabulary.render([*opening, *chat])),))
    return Responses(Answer(f"resp_{context.id}", context.created, model, generation)), generation
