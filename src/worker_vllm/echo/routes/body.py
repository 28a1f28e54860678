"""Reading a generation request's body: the fields that the echo engine obeys, refused as vLLM refuses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker_vllm.echo import tokens as vocabulary
from worker_vllm.echo.generation import GenerationLimits
from worker_vllm.echo.http_messages import error_body
from worker_vllm.errors import EngineAnswer, NotFound, RequestError

MAX_N = 16384  # vLLM's VLLM_MAX_N_SEQUENCES
MAX_LOGPROBS = 20  # and its --max-logprobs


def invalid(param: str, message: str) -> EngineAnswer:
    """A 400 in the shape of vLLM's validation errors."""
    message = f"1 validation error:\n  {{'loc': 'body.{param}', 'msg': '{message}'}}"
    return EngineAnswer(400, error_body(400, message, param=f"body.{param}")["error"])


def whole(body: Mapping[str, Any], name: str, default: int, least: int = 0) -> int:
    """A whole number of the body; absent and null are the default."""
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
    """How many answers each prompt gets, within vLLM 0.32's own bound."""
    count = whole(body, "n", 1, least=1)
    if count > MAX_N:
        raise RequestError(f"n must be at most {MAX_N}, got {count}.")
    return count


def logprobs(body: Mapping[str, Any], name: str) -> int:
    """How many alternatives of each token are wanted, within vLLM's default bound."""
    count = whole(body, name, 0)
    if count > MAX_LOGPROBS:
        raise RequestError(
            f"Requested sample logprobs of {count}, which is greater than max allowed: {MAX_LOGPROBS} "
            f"(parameter=logprobs, value={count})",
            param="logprobs",
        )
    return count


def strings(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A text or a list of texts of the body."""
    value = body.get(name)
    values = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise invalid(name, "Input should be a valid string or list of strings")
    return tuple(values)


def check_model(body: Mapping[str, Any], served: Sequence[str]) -> str:
    """The model's name to answer with. Raises NotFound in vLLM's words for one that is not served."""
    name = body.get("model")
    if name is not None and not isinstance(name, str):
        raise invalid("model", "Input should be a valid string")
    if name and name not in served:
        aliases = ", ".join(served)
        raise NotFound(f"The model `{name}` does not exist. Valid aliases: {aliases}.", param="model")
    return name or served[0]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the engine was started with: the context's length, and vLLM's VLLM_MAX_STOP_STRINGS."""

    max_model_len: int = 131072
    max_stop_strings: int = 4


def limits(body: Mapping[str, Any], prompt: int, bounds: Bounds, default: int | None = None) -> GenerationLimits:
    """When the answer ends; the context's length bounds it. Raises RequestError when the prompt fills it already."""
    max_model_len = bounds.max_model_len
    if prompt >= max_model_len:
        raise RequestError(
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains {prompt} "
            "input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the "
            f"input prompt. (parameter=input_tokens, value={prompt})",
            param="input_tokens",
        )
    room = max_model_len - prompt
    name = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    wanted = whole(body, name, default or room, least=1)
    stop = tuple(text for text in strings(body, "stop") if text)
    if len(stop) > bounds.max_stop_strings:
        most = bounds.max_stop_strings
        raise invalid("stop", f"List should have at most {most} items after validation, not {len(stop)}")
    return GenerationLimits(
        min(wanted, room),
        whole(body, "min_tokens", 0),
        bool(body.get("ignore_eos")),
        stop,
        bool(body.get("include_stop_str_in_output")),
    )


def messages(body: Mapping[str, Any], name: str = "messages") -> list[dict[str, Any]]:
    """The chat of a body: at least one message."""
    value = body.get(name)
    if value is None:
        raise invalid(name, "Field required")
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid(name, "Input should be a valid list of messages")
    if not value:
        raise RequestError("Cannot apply chat template to an empty conversation. Provide at least one message.")
    return value


def prompts(body: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
    """The prompts of a completion, as tokens: a text, a list of texts, token ids or a list of those."""
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
    """A list of token ids."""
    value = body.get(name)
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise invalid(name, "Input should be a valid list of integers")
    return value
