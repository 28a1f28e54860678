"""Reads the fields of a request's body that the echo engine supports, with vLLM's errors for wrong ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker_vllm.echo import tokens as vocabulary
from worker_vllm.echo.generation import GenerationLimits
from worker_vllm.echo.http_messages import error_body
from worker_vllm.errors import EngineReportedError, NotFound, RequestError

MAX_N = 16384  # vLLM's VLLM_MAX_N_SEQUENCES
MAX_LOGPROBS = 20  # and its --max-logprobs


def invalid(param: str, message: str) -> EngineReportedError:
    """A 400 in the format of vLLM's validation errors."""
    message = f"1 validation error:\n  {{'loc': 'body.{param}', 'msg': '{message}'}}"
    return EngineReportedError(400, error_body(400, message, param=f"body.{param}")["error"])


def integer(body: Mapping[str, Any], name: str, default: int, least: int = 0) -> int:
    """An integer field; the default where it is absent or null. Raises EngineReportedError or RequestError."""
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(name, "Input should be a valid integer")
    if value < least:
        place = f" (parameter={name}, value={value})" if name != "n" else ""
        raise RequestError(f"{name} must be at least {least}, got {value}.{place}", param=name if place else None)
    return value


def sequences(body: Mapping[str, Any]) -> int:
    """The number of sequences per prompt (`n`), within vLLM 0.32's limit."""
    count = integer(body, "n", 1, least=1)
    if count > MAX_N:
        raise RequestError(f"n must be at most {MAX_N}, got {count}.")
    return count


def logprobs(body: Mapping[str, Any], name: str) -> int:
    """The number of alternatives per token, within vLLM's default limit."""
    count = integer(body, name, 0)
    if count > MAX_LOGPROBS:
        raise RequestError(
            f"Requested sample logprobs of {count}, which is greater than max allowed: {MAX_LOGPROBS} "
            f"(parameter=logprobs, value={count})",
            param="logprobs",
        )
    return count


def strings(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A field that is a string or a list of strings."""
    value = body.get(name)
    values = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise invalid(name, "Input should be a valid string or list of strings")
    return tuple(values)


def check_model(body: Mapping[str, Any], served: Sequence[str]) -> str:
    """The name of the requested model. Raises NotFound with vLLM's message for one that is not served."""
    name = body.get("model")
    if name is not None and not isinstance(name, str):
        raise invalid("model", "Input should be a valid string")
    if name and name not in served:
        aliases = ", ".join(served)
        raise NotFound(f"The model `{name}` does not exist. Valid aliases: {aliases}.", param="model")
    return name or served[0]


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Limits that the engine was started with: the context length, and vLLM's VLLM_MAX_STOP_STRINGS."""

    max_model_len: int = 131072
    max_stop_strings: int = 4


def limits(
    body: Mapping[str, Any], prompt: int, engine: EngineLimits, default: int | None = None
) -> GenerationLimits:
    """The limits of a generation within the context length. Raises RequestError when the prompt fills the context."""
    max_model_len = engine.max_model_len
    if prompt >= max_model_len:
        raise RequestError(
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains {prompt} "
            "input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the "
            f"input prompt. (parameter=input_tokens, value={prompt})",
            param="input_tokens",
        )
    room = max_model_len - prompt
    name = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    wanted = integer(body, name, default or room, least=1)
    stop = tuple(text for text in strings(body, "stop") if text)
    if len(stop) > engine.max_stop_strings:
        most = engine.max_stop_strings
        raise invalid("stop", f"List should have at most {most} items after validation, not {len(stop)}")
    return GenerationLimits(
        min(wanted, room),
        integer(body, "min_tokens", 0),
        bool(body.get("ignore_eos")),
        stop,
        bool(body.get("include_stop_str_in_output")),
    )


def messages(body: Mapping[str, Any], name: str = "messages") -> list[dict[str, Any]]:
    """The messages of a chat, at least one. Raises EngineReportedError or RequestError."""
    value = body.get(name)
    if value is None:
        raise invalid(name, "Field required")
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid(name, "Input should be a valid list of messages")
    if not value:
        raise RequestError("Cannot apply chat template to an empty conversation. Provide at least one message.")
    return value


def prompts(body: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
    """The prompts of a completion as tokens, given as text, list of texts, token ids or list of those."""
    value = body.get("prompt")
    if value is None or value in ("", []):
        raise RequestError(
            "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)", param="prompt"
        )
    if isinstance(value, str):
        return (tuple(vocabulary.encode(value)),)
    if not isinstance(value, list):
        raise invalid("prompt", "Input should be a valid string or list")
    if all(type(item) is int for item in value):
        return (tuple(value),)
    return tuple(_prompt(item) for item in value)


def _prompt(item: Any) -> tuple[int, ...]:
    if isinstance(item, str):
        return tuple(vocabulary.encode(item))
    if isinstance(item, list) and all(type(token) is int for token in item):
        return tuple(item)
    raise invalid("prompt", "Input should be a valid string or list of token ids")


def token_ids(body: Mapping[str, Any], name: str) -> list[int]:
    """A field that is a list of token ids."""
    value = body.get(name)
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise invalid(name, "Input should be a valid list of integers")
    return value
