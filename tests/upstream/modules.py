"""Which of upstream's modules run, each against an engine that many share; and how those engines are started."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.upstream.stand_ins import ADAPTER, MODEL

FOLDER = "tests/entrypoints"
ADAPTER_NAMES = ("qwen3-lora", "zephyr-lora", "opt125m-lora")


@dataclass(frozen=True, slots=True)
class Engine:
    """One `vllm serve`, and the modules that ask it."""

    name: str
    arguments: tuple[str, ...]
    modules: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    worker: Mapping[str, str] = field(default_factory=dict)  # what the worker in front of it is set to


COMMON = ("--max-num-seqs", "128", "--enforce-eager", "--seed", "0")
GENERATE = Engine(
    "generate",
    (
        *COMMON,
        *("--max-model-len", "8192", "--enable-prompt-embeds"),
        # The stand-in seldom ends an answer without a limit on its tokens.
        *("--override-generation-config", json.dumps({"max_new_tokens": 64})),
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--enable-prompt-tokens-details"),
        "--enable-tokenizer-info-endpoint",
        *("--enable-lora", "--max-lora-rank", "64", "--lora-modules"),
        *(json.dumps({"name": name, "path": ADAPTER, "base_model_name": MODEL}) for name in ADAPTER_NAMES),
    ),
    (
        "anthropic/test_messages.py",
        "generate/generative_scoring/test_generative_scoring_e2e.py",
        "openai/chat_completion/test_batched_chat_completions.py",
        "openai/chat_completion/test_chat.py",
        "openai/chat_completion/test_chat_completion.py",
        "openai/chat_completion/test_chat_completion_with_prompt_embeds.py",
        "openai/chat_completion/test_chat_echo.py",
        "openai/chat_completion/test_chat_logit_bias_validation.py",
        "openai/chat_completion/test_completion_with_function_calling.py",
        "openai/chat_completion/test_include_reasoning.py",
        "openai/chat_completion/test_logprob_token_ids.py",
        "openai/completion/test_completion.py",
        "openai/completion/test_completion_with_prompt_embeds.py",
        "openai/models/test_models.py",
        "openai/responses/test_basic.py",
        "openai/responses/test_errors.py",
        "openai/responses/test_function_call.py",
        "openai/responses/test_simple.py",
        "openai/responses/test_stateful.py",
        "openai/test_return_token_ids.py",
        "openai/test_return_tokens_as_ids.py",
        "serve/instrumentator/test_basic.py",
        "serve/instrumentator/test_metrics.py",
        "serve/instrumentator/test_orca_metrics.py",
        "serve/lora/test_lora_adapters.py",
        "serve/tokenize/test_tokenization.py",
    ),
    environment={"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_ENABLE_RESPONSES_API_STORE": "1"},
    worker={"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "ENABLE_TOKENIZER_INFO_ENDPOINT": "1"},
)
EMBED = Engine(
    "embed",
    (*COMMON, "--max-model-len", "2048", "--runner", "pooling", "--convert", "embed"),
    (
        "pooling/basic/test_truncation.py",
        "pooling/embed/test_cohere_online.py",
        "pooling/embed/test_cohere_openai_parity.py",
        "pooling/embed/test_online.py",
        "pooling/embed/test_online_long_text.py",
        "pooling/scoring/test_bi_encoder_online.py",
        "pooling/scoring/test_late_interaction_online.py",
        "pooling/token_embed/test_online.py",
        "serve/middleware/test_optional_middleware.py",
    ),
)
CLASSIFY = Engine(
    "classify",
    (*COMMON, "--max-model-len", "2048", "--runner", "pooling", "--convert", "classify"),
    (
        "pooling/classify/test_online.py",
        "pooling/reward/test_token_reward_online.py",
        "pooling/scoring/test_cross_encoder_online.py",
        "pooling/token_classify/test_online.py",
    ),
)
ENGINES = (GENERATE, EMBED, CLASSIFY)
