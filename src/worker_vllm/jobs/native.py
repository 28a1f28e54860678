"""Native jobs: `prompt` or `messages` with `sampling_params`, and the original's output shape.

Items are `{"choices":[{"tokens":[…]}×n],"usage":{"input","output"}}`, the usage cumulative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker_vllm.errors import RequestError
from worker_vllm.jobs.batching import BatchPolicy
from worker_vllm.jobs.names import nearest
from worker_vllm.jobs.policy import BATCH_KEYS, parse_policy
from worker_vllm.jobs.sampling import SAMPLING_KEYS, Sampling, parse_sampling
from worker_vllm.settings.model import JobSettings

Messages = list[dict[str, Any]]
INPUT_KEYS = (
    "prompt",
    "messages",
    "apply_chat_template",
    "sampling_params",
    "stream",
    "use_openai_format",  # the original parsed it and never used it
    *BATCH_KEYS,
)


@dataclass(frozen=True, slots=True)
class NativeJob:
    """What a native job asks for: either `messages` for the model's chat template, or a `prompt` as it stands."""

    prompt: str | list[int] | None
    messages: Messages | None
    sampling: Sampling
    stream: bool
    batches: BatchPolicy


def parse_native(given: Mapping[str, Any], settings: JobSettings) -> NativeJob:
    """The native job in `given`. Raises RequestError that says what to change."""
    for key in given:
        if key not in INPUT_KEYS:
            raise _unknown(key)
    prompt, messages = _text(given)
    if given.get("apply_chat_template") and isinstance(prompt, str):
        prompt, messages = None, [{"role": "user", "content": prompt}]
    return NativeJob(
        prompt=prompt,
        messages=messages,
        sampling=parse_sampling(given.get("sampling_params"), settings),
        stream=bool(given.get("stream")),
        batches=parse_policy(given, settings),
    )


def _text(given: Mapping[str, Any]) -> tuple[str | list[int] | None, Messages | None]:
    """Messages win over a prompt; a prompt that is a list of messages is taken as such."""
    key = "messages" if given.get("messages") is not None else "prompt"
    value = given.get(key)
    if value is None:
        raise RequestError('input: expected "prompt" (a text) or "messages" (a list of messages), got neither')
    if isinstance(value, str):
        return (value, None) if key == "prompt" else (None, [{"role": "user", "content": value}])
    if isinstance(value, list) and value:
        if all(isinstance(item, dict) for item in value):
            return None, value
        if key == "prompt" and all(isinstance(item, int) and not isinstance(item, bool) for item in value):
            return value, None
    raise RequestError(f"{key}: expected a text or a list of messages, got {value!r:.80}", param=key)


def _unknown(key: str) -> RequestError:
    if key in SAMPLING_KEYS:
        return RequestError(f'{key}: belongs into "sampling_params"', param=key)
    return RequestError(f"{key}: not a field of a native job{nearest(key, INPUT_KEYS)}", param=key)
