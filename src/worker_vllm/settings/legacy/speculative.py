"""Speculative decoding: the old variables as one --speculative-config."""

from __future__ import annotations

from typing import Any

from worker_vllm.settings.builder import ENVIRONMENT, SettingsBuilder
from worker_vllm.settings.catalog.catalog import catalog

KEYS = {
    "SPECULATIVE_METHOD": "method",
    "NUM_SPECULATIVE_TOKENS": "num_speculative_tokens",
    "SPECULATIVE_DRAFT_TENSOR_PARALLEL_SIZE": "draft_tensor_parallel_size",
    "SPECULATIVE_MAX_MODEL_LEN": "max_model_len",
    "SPECULATIVE_QUANTIZATION": "quantization",
    "SPECULATIVE_MODEL_REVISION": "revision",
    "SPECULATIVE_ENFORCE_EAGER": "enforce_eager",
}
NGRAM = {"NGRAM_PROMPT_LOOKUP_MAX": "prompt_lookup_max", "NGRAM_PROMPT_LOOKUP_MIN": "prompt_lookup_min"}
NGRAM_NAMES = ("ngram", "[ngram]")
MANY = 1_000_000  # more sequences than any batch holds


def translate(draft: SettingsBuilder) -> None:
    """Translate all variables of speculative decoding; SPECULATIVE_CONFIG wins over the single ones."""
    settings = catalog()
    if draft.parsed(settings["SPEC_DECODING_ACCEPTANCE_METHOD"]) == "typical_acceptance_sampler":
        draft.warn("SPEC_DECODING_ACCEPTANCE_METHOD has no effect: vLLM has only rejection sampling")
    singles = {name: draft.parsed(settings[name]) for name in (*KEYS, *NGRAM, "SPECULATIVE_DISABLE_BY_BATCH_SIZE")}
    given = {name: value for name, value in singles.items() if value is not None}
    model = draft.env.get("SPECULATIVE_MODEL")
    if model is None and not given:
        return
    if "SPECULATIVE_CONFIG" in draft.env:
        names = ", ".join(sorted({*given, *(["SPECULATIVE_MODEL"] if model else [])}))
        draft.warn(f"{names}: ignored, SPECULATIVE_CONFIG is set")
        return
    config = _config(draft, model, given)
    if config is not None:
        key = "SPECULATIVE_MODEL" if model else next(iter(given))
        draft.set_flag("SPECULATIVE_CONFIG", config, ENVIRONMENT, key)


def _config(draft: SettingsBuilder, model: str | None, given: dict[str, Any]) -> dict[str, Any] | None:
    config = {key: given[name] for name, key in KEYS.items() if name in given}
    ngram = (model or "").lower() in NGRAM_NAMES or (model is None and "NGRAM_PROMPT_LOOKUP_MAX" in given)
    if ngram or str(config.get("method", "")).startswith("ngram"):
        config.setdefault("method", "ngram")
        config |= {key: given[name] for name, key in NGRAM.items() if name in given}
        if config.get("prompt_lookup_min", 0) > config.get("prompt_lookup_max", MANY):
            draft.refuse("NGRAM_PROMPT_LOOKUP_MIN", "at most NGRAM_PROMPT_LOOKUP_MAX", "lower it")
    else:
        if model is not None:
            config["model"] = model
        for name in NGRAM:
            if name in given:
                draft.warn(f"{name} has no effect without SPECULATIVE_MODEL=[ngram]")
    if "model" not in config and "method" not in config:
        draft.refuse(
            next(iter(given)),
            "SPECULATIVE_MODEL beside it",
            "set SPECULATIVE_MODEL to a draft model or [ngram], or remove this variable",
        )
        return None
    return _checked(draft, config, given)


def _checked(draft: SettingsBuilder, config: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    if config.get("method") == "ngram" and "num_speculative_tokens" not in config:
        draft.refuse("NUM_SPECULATIVE_TOKENS", "a number of tokens with n-gram speculation", "set it, for example 5")
    if (largest := given.get("SPECULATIVE_DISABLE_BY_BATCH_SIZE")) is not None:
        tokens = config.get("num_speculative_tokens")
        if tokens is None:
            draft.refuse("SPECULATIVE_DISABLE_BY_BATCH_SIZE", "NUM_SPECULATIVE_TOKENS beside it", "set it too")
        else:
            config["num_speculative_tokens_per_batch_size"] = [[1, largest, tokens], [largest + 1, MANY, 0]]
    return config
