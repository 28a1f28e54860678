"""Native sampling parameters: each one obeyed, translated or refused, since the engine's HTTP models drop what they
do not know. Ranges are left to the engine, whose own error names the parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker_vllm.errors import RequestError
from worker_vllm.jobs.names import nearest
from worker_vllm.settings.model import JobSettings

# The specification's defaults that an unset value would otherwise take from the model's generation_config
# (vLLM 0.32: a sampling field that is null over HTTP).
SPECIFIED_DEFAULTS: Mapping[str, float] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
PASSED_ON = (
    *SPECIFIED_DEFAULTS,
    "n",
    "stop",
    "stop_token_ids",
    "ignore_eos",
    "max_tokens",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "seed",
    "min_tokens",
    "logprobs",
    "prompt_logprobs",
    "include_stop_str_in_output",
    "truncate_prompt_tokens",
    "truncation_side",
    "logit_bias",
    "allowed_token_ids",
    "bad_words",
    "structured_outputs",
    "thinking_token_budget",
    "repetition_detection",
    "add_special_tokens",
    "priority",
    "cache_salt",
)
SAMPLING_KEYS = PASSED_ON


@dataclass(frozen=True, slots=True)
class Sampling:
    """The sampling half of an engine request."""

    fields: dict[str, Any]

    @property
    def n(self) -> int:
        """How many sequences the caller gets."""
        return int(self.fields.get("n", 1))


def parse_sampling(given: object, settings: JobSettings) -> Sampling:
    """The engine's fields for `sampling_params`; null means unset. Raises RequestError naming the parameter."""
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise RequestError(
            f"sampling_params: expected an object, got {type(given).__name__}", param="sampling_params"
        )
    for key in given:
        if key not in SAMPLING_KEYS:
            raise RequestError(
                f"sampling_params.{key}: not a sampling parameter{nearest(key, SAMPLING_KEYS)}", param=key
            )
    fields = {key: value for key, value in given.items() if value is not None}
    defaults = {} if settings.native_model_defaults else SPECIFIED_DEFAULTS
    return Sampling({**defaults, "max_tokens": settings.default_max_tokens, **fields})
