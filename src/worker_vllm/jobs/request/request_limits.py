"""The limits of one request, checked before it is sent to the engine.

vLLM compiles grammars before it queues a request, and every other client waits meanwhile: a schema of 100,000
constants blocks it for 8 s. So the bytes, depth and alternatives of everything that becomes a grammar are limited in
sum, in every form of request: `guided_*`, `structured_outputs`, `response_format`, tools, the fields of Anthropic's
API and the Responses API, and a native job's sampling parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker_vllm.jobs.request.grammar_size import GrammarSize, measure
from worker_vllm.settings.types import RequestLimits

# Fields whose content becomes a grammar, in any API.
GRAMMAR_KEYS = (
    *("structured_outputs", "response_format", "tools", "functions", "tool_choice"),
    *(
        "guided_json",
        "guided_regex",
        "guided_choice",
        "guided_grammar",
        "guided_decoding",
        "guided_whitespace_pattern",
    ),
    *("text", "output_config", "output_format"),  # of the Responses API and of Anthropic's API
)
SEQUENCE_KEYS = ("n", "best_of")
STOP_KEYS = ("stop", "stop_sequences")
LARGEST_COUNT = 10**12
INPUT_KEYS = ("input", "documents", "text_1", "text_2", "queries", "items", "texts", "inputs", "data_1", "data_2")


@dataclass(frozen=True, slots=True)
class ExceededLimit:
    """A limit that a request exceeds: what, got, expected, and the variable that changes it."""

    param: str
    what: str
    got: str
    most: int
    variable: str

    def __str__(self) -> str:
        return (
            f"{self.param}: {self.what}: expected at most {self.most}, got {self.got}; ask for less, or raise the "
            f"endpoint's {self.variable}"
        )


def find_exceeded_limit(body: Mapping[str, Any], limits: RequestLimits) -> ExceededLimit | None:
    """The first limit that the request's body exceeds; None when it exceeds none. A limit of 0 means no limit.

    MAX_LOGPROBS is not among them: vLLM's server refuses more before its engine works on the request.
    """
    return _check_grammars(body, limits) or _check_sequences(body, limits) or _check_lists(body, limits)


def _check_grammars(body: Mapping[str, Any], limits: RequestLimits) -> ExceededLimit | None:
    size = GrammarSize()
    for key in GRAMMAR_KEYS:
        if body.get(key) is None or (key == "text" and not isinstance(body[key], Mapping)):
            continue
        measure(key, body[key], size, limits)
        for name, got, most, what, variable in (
            ("bytes", size.bytes, limits.schema_bytes, "bytes of schemas, grammars and tools", "MAX_SCHEMA_BYTES"),
            ("depth", size.depth, limits.schema_depth, "levels of nesting", "MAX_SCHEMA_DEPTH"),
            (
                *("alternatives", size.alternatives, limits.schema_alternatives),
                *("constants, alternatives, properties and tools", "MAX_SCHEMA_ALTERNATIVES"),
            ),
        ):
            if most and got > most:
                return ExceededLimit(
                    key, what, f"{got} or more" if name != "depth" or size.cut else str(got), most, variable
                )
    return None


def _check_sequences(body: Mapping[str, Any], limits: RequestLimits) -> ExceededLimit | None:
    prompts = _count_prompts(body)
    if limits.prompts and prompts > limits.prompts:
        key = "prompt" if "prompt" in body else "messages"
        return ExceededLimit(key, "prompts in one request", str(prompts), limits.prompts, "MAX_PROMPTS")
    for key in SEQUENCE_KEYS:
        count = _bounded_int(body.get(key))
        if limits.n and count > limits.n:
            return ExceededLimit(key, "sequences of a prompt", str(count), limits.n, "MAX_N")
        if limits.sequences and count * max(prompts, 1) > limits.sequences:
            got = f"{count} for each of {prompts} prompts"
            return ExceededLimit(key, "sequences in one request", got, limits.sequences, "MAX_SEQUENCES")
    return None


def _check_lists(body: Mapping[str, Any], limits: RequestLimits) -> ExceededLimit | None:
    for key in STOP_KEYS:
        if limits.stop and isinstance(stop := body.get(key), list) and len(stop) > limits.stop:
            return ExceededLimit(key, "stop texts", str(len(stop)), limits.stop, "MAX_STOP")
    for key in INPUT_KEYS:
        inputs = body.get(key)
        if limits.inputs and isinstance(inputs, list) and len(inputs) > limits.inputs and not _is_token_ids(inputs):
            return ExceededLimit(key, "inputs in one request", str(len(inputs)), limits.inputs, "MAX_INPUTS")
    return None


def _count_prompts(body: Mapping[str, Any]) -> int:
    """The number of prompts in the body: a list of texts or of token lists, or a batch of conversations."""
    prompt = body.get("prompt")
    if isinstance(prompt, list) and not _is_token_ids(prompt):
        return len(prompt)
    messages = body.get("messages")
    if isinstance(messages, list) and messages and isinstance(messages[0], list):
        return len(messages)
    embeds = body.get("prompt_embeds")
    return len(embeds) if isinstance(embeds, list) else 1


def _is_token_ids(value: list[Any]) -> bool:
    """Whether the list is one prompt as token ids."""
    return bool(value) and isinstance(value[0], int)


def _bounded_int(value: object) -> int:
    """A number as an integer from -1 to LARGEST_COUNT; 0 for anything else, which the engine itself refuses."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return 0
    return int(max(-1, min(value, LARGEST_COUNT)))
