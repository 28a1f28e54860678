"""Native jobs: `prompt` or `messages` with `sampling_params`, as in the specification's "Usage: Standard".

Additional fields, without which the output has the specified shape: `model` (an adapter's name), `tools`, arguments
of the chat template, and `include` for finish reasons and token ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker_vllm.errors import RequestError
from worker_vllm.jobs.output.batching import BatchPolicy
from worker_vllm.jobs.request.batch_options import BATCH_KEYS, parse_batch_policy
from worker_vllm.jobs.request.parameter_names import nearest_name
from worker_vllm.jobs.request.sampling import SAMPLING_KEYS, Sampling, parse_sampling
from worker_vllm.settings.types import JobSettings

Messages = list[dict[str, Any]]

TEMPLATE_KEYS = ("chat_template", "chat_template_kwargs", "add_generation_prompt", "continue_final_message")
TOOL_KEYS = ("tools", "tool_choice", "parallel_tool_calls")
INCLUDABLE = ("finish_reason", "token_ids")
INPUT_KEYS = (
    "prompt",
    "messages",
    "apply_chat_template",
    "sampling_params",
    "stream",
    "use_openai_format",  # accepted and ignored: the original parsed it and never used it
    "model",
    "include",
    *TEMPLATE_KEYS,
    *TOOL_KEYS,
    *BATCH_KEYS,
)


@dataclass(frozen=True, slots=True)
class NativeJob:
    """A parsed native job: either `messages` for the model's chat template, or a `prompt` that is used unchanged."""

    prompt: str | list[int] | None
    messages: Messages | None
    sampling: Sampling
    stream: bool
    batches: BatchPolicy
    model: str | None = None
    template: Mapping[str, Any] = field(default_factory=dict)
    tools: Mapping[str, Any] = field(default_factory=dict)
    include: tuple[str, ...] = ()

    @property
    def needs_chat(self) -> bool:
        """Whether the job needs the engine's chat route, because of media or tools."""
        return bool(self.tools) or any(_has_media(message) for message in self.messages or ())

    @property
    def shown(self) -> tuple[str, ...]:
        """The fields that each sequence has beside its tokens, because the job asks for them."""
        asked = [name for name in ("logprobs", "prompt_logprobs") if name in self.sampling.fields]
        stops = ["finish_reason", "stop_reason"] if "finish_reason" in self.include else []
        ids = ["token_ids"] if "token_ids" in self.include else []
        return (*asked, *stops, *ids, *(("tool_calls", "reasoning") if self.tools else ()))


def parse_native(given: Mapping[str, Any], settings: JobSettings) -> NativeJob:
    """The native job in `given`; null means absent. Raises RequestError, whose message states what to change."""
    for key in given:
        if key not in INPUT_KEYS:
            raise _unknown_field(key)
    asked = {key: value for key, value in given.items() if value is not None}
    prompt, messages = _prompt_or_messages(asked)
    if asked.get("apply_chat_template") and isinstance(prompt, str):
        prompt, messages = None, [{"role": "user", "content": prompt}]
    tools = {key: asked[key] for key in TOOL_KEYS if key in asked} if asked.get("tools") else {}
    if tools and messages is None:
        raise RequestError("tools: need messages, or a prompt with apply_chat_template", param="tools")
    return NativeJob(
        prompt=prompt,
        messages=messages,
        sampling=parse_sampling(asked.get("sampling_params"), settings),
        stream=bool(asked.get("stream")),
        batches=parse_batch_policy(asked, settings),
        model=asked.get("model"),
        template={key: asked[key] for key in TEMPLATE_KEYS if key in asked},
        tools=tools,
        include=_parse_include(asked.get("include", ())),
    )


def _prompt_or_messages(asked: Mapping[str, Any]) -> tuple[str | list[int] | None, Messages | None]:
    """The prompt or the messages. Messages take precedence; a prompt that is a list of messages becomes messages."""
    key = "messages" if "messages" in asked else "prompt"
    value = asked.get(key)
    if value is None:
        raise RequestError('input: expected "prompt" (a text) or "messages" (a list of messages), got neither')
    if isinstance(value, str):
        return (value, None) if key == "prompt" else (None, [{"role": "user", "content": value}])
    if isinstance(value, list) and value:
        if all(isinstance(item, dict) for item in value):
            return None, value
        if key == "prompt" and all(isinstance(item, int) and not isinstance(item, bool) for item in value):
            return value, None
    tokens = ", a list of token ids" if key == "prompt" else ""
    raise RequestError(f"{key}: expected a text{tokens} or a list of messages, got {value!r:.80}", param=key)


def _parse_include(value: object) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(name in INCLUDABLE for name in names):
        raise RequestError(
            f"include: expected a list out of {', '.join(INCLUDABLE)}, got {value!r:.80}", param="include"
        )
    return tuple(names)


def _has_media(message: Mapping[str, Any]) -> bool:
    parts = message.get("content")
    return isinstance(parts, list) and any(
        isinstance(part, dict) and part.get("type", "text") != "text" for part in parts
    )


def _unknown_field(key: str) -> RequestError:
    if key in SAMPLING_KEYS:
        return RequestError(f'{key}: belongs into "sampling_params"', param=key)
    meant = nearest_name(key, (*INPUT_KEYS, *SAMPLING_KEYS))
    hint = f"; did you mean {meant}" if meant else ""
    if meant in SAMPLING_KEYS:
        hint += ' in "sampling_params"'
    return RequestError(f"{key}: not a field of a native job{hint}{'?' if meant else ''}", param=key)
