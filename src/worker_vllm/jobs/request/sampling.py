"""Native sampling parameters: each one is passed on, translated or refused, since vLLM's HTTP models ignore unknown
fields. The engine itself checks ranges; its error contains the parameter's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker_vllm.errors import RequestError
from worker_vllm.jobs.request.best_of import Ranking, extract_ranking, positive_int
from worker_vllm.jobs.request.guided_decoding import GUIDED_KEYS, translate_guided
from worker_vllm.jobs.request.parameter_names import did_you_mean
from worker_vllm.settings.types import JobSettings

# The specification's defaults. Without them vLLM 0.32 would take a null field from the model's generation_config.
SPECIFIED_DEFAULTS: Mapping[str, float] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
# The fields that vLLM 0.32's beam search reads (BeamSearchParams), and those that limit its prompt or output.
BEAM_KEYS = frozenset(
    {"n", "best_of", "use_beam_search", "length_penalty", "early_stopping", "temperature", "max_tokens", "ignore_eos"}
    | {"include_stop_str_in_output", "skip_special_tokens", "spaces_between_special_tokens", "add_special_tokens"}
    | {"truncate_prompt_tokens", "truncation_side"}
)
SAMPLING_KEYS = (
    *BEAM_KEYS,
    *SPECIFIED_DEFAULTS,
    *GUIDED_KEYS,
    "stop",
    "stop_token_ids",
    "seed",
    "min_tokens",
    "logprobs",
    "prompt_logprobs",
    "logprob_token_ids",
    "logit_bias",
    "allowed_token_ids",
    "bad_words",
    "structured_outputs",
    "response_format",
    "thinking_token_budget",
    "repetition_detection",
    "priority",
    "cache_salt",
    "detokenize",
)


@dataclass(frozen=True, slots=True)
class Sampling:
    """The sampling fields of an engine request. The caller receives `n` sequences."""

    fields: dict[str, Any]
    n: int
    ranking: Ranking | None


def parse_sampling(given: object, settings: JobSettings) -> Sampling:
    """The engine's fields for `sampling_params`; null means unset. Raises RequestError naming the parameter."""
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise RequestError(
            f"sampling_params: expected an object, got {type(given).__name__}", param="sampling_params"
        )
    for key in given:
        if key not in SAMPLING_KEYS:
            message = f"sampling_params.{key}: not a sampling parameter{did_you_mean(key, SAMPLING_KEYS)}"
            raise RequestError(message, param=key)
    asked = {key: value for key, value in given.items() if value is not None}
    _check_supported(asked)
    fields, ranking = extract_ranking(translate_guided(asked), settings.max_logprobs)
    fields.pop("detokenize", None)
    if fields.get("stop_token_ids") and not fields.get("stop"):
        # The specification keeps a stop token in the text; vLLM 0.32 does so only with this flag. The flag would keep
        # stop texts too, which the specification removes, so it is not set when there are any.
        fields.setdefault("include_stop_str_in_output", True)
    beam = bool(asked.get("use_beam_search"))
    defaults = {} if settings.native_model_defaults or beam else SPECIFIED_DEFAULTS
    fields = {**defaults, "max_tokens": settings.default_max_tokens, **fields}
    return Sampling(fields, ranking.keep if ranking else positive_int(asked, "n"), ranking)


def _check_supported(asked: Mapping[str, Any]) -> None:
    """Raise RequestError for parameters that vLLM 0.32 would ignore over HTTP."""
    if asked.get("detokenize") is False:
        raise RequestError(
            "detokenize: this endpoint always answers with text; use /v1/completions with return_token_ids",
            param="detokenize",
        )
    if asked.get("use_beam_search"):
        for key, value in asked.items():
            if key not in BEAM_KEYS and value != SPECIFIED_DEFAULTS.get(key, []):
                raise RequestError(f"{key}: a beam search does not obey it; leave it out", param=key)
    elif asked.get("length_penalty", 1.0) != 1.0:
        raise RequestError("length_penalty: works with use_beam_search only", param="length_penalty")
