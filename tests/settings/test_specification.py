"""Every row of the specification's table: its effect on engine and worker, or the exact warning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from worker_vllm.errors import ConfigurationError
from worker_vllm.settings.catalog.catalog import catalog
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import load
from worker_vllm.settings.types import Settings

YEAR = {"VLLM_LOG_STATS_INTERVAL": "31536000"}
LLAMA = {"architectures": ["LlamaForCausalLM"], "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}


@dataclass(frozen=True)
class Case:
    """An environment and everything that it changes in comparison with an empty one."""

    env: dict[str, str]
    arguments: tuple[str, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)  # "group.field" → value
    environment: dict[str, str] = field(default_factory=dict)
    warning: str | None = None


def gone(name: str, value: str, why: str) -> Case:
    """A setting without effect, and its warning."""
    return Case({name: value}, warning=f"{name} has no effect: {why}")


def flag(name: str, value: str, *arguments: str) -> Case:
    """A setting that becomes a flag and nothing else."""
    return Case({name: value}, arguments)


DRAFT = {"SPECULATIVE_MODEL": "org/draft", "NUM_SPECULATIVE_TOKENS": "4"}
NGRAM = {"SPECULATIVE_MODEL": "[ngram]", "NUM_SPECULATIVE_TOKENS": "4"}
SAMPLER = "the typical acceptance sampler was removed from vLLM"

CASES: dict[str, Case] = {
    "MODEL_NAME": Case(
        {"MODEL_NAME": "org/name"}, fields={"engine.model": "org/name", "engine.served_names": ("org/name",)}
    ),
    "TOKENIZER": flag("TOKENIZER", "org/tok", "--tokenizer", "org/tok"),
    "SKIP_TOKENIZER_INIT": Case(
        {"SKIP_TOKENIZER_INIT": "1"},
        ("--skip-tokenizer-init",),
        warning="SKIP_TOKENIZER_INIT: without a tokenizer only token ids work; every text route fails",
    ),
    "TOKENIZER_MODE": Case(
        {"TOKENIZER_MODE": "slow"},
        ("--tokenizer-mode", "hf"),
        warning="TOKENIZER_MODE=slow is read as hf: vLLM removed slow tokenizers",
    ),
    "TRUST_REMOTE_CODE": flag("TRUST_REMOTE_CODE", "1", "--trust-remote-code"),
    "DOWNLOAD_DIR": flag("DOWNLOAD_DIR", "/models", "--download-dir", "/models"),
    "LOAD_FORMAT": flag("LOAD_FORMAT", "safetensors", "--load-format", "safetensors"),
    "HF_TOKEN": Case({"HF_TOKEN": "hf_x"}),
    "DTYPE": flag("DTYPE", "half", "--dtype", "half"),
    "KV_CACHE_DTYPE": flag("KV_CACHE_DTYPE", "fp8", "--kv-cache-dtype", "fp8"),
    "QUANTIZATION_PARAM_PATH": gone(
        "QUANTIZATION_PARAM_PATH", "/scales.json", "KV cache scales are read from the checkpoint now"
    ),
    "MAX_MODEL_LEN": flag("MAX_MODEL_LEN", "8K", "--max-model-len", "8192"),
    "GUIDED_DECODING_BACKEND": flag(
        "GUIDED_DECODING_BACKEND", "outlines", "--structured-outputs-config", '{"backend":"outlines"}'
    ),
    "DISTRIBUTED_EXECUTOR_BACKEND": flag(
        "DISTRIBUTED_EXECUTOR_BACKEND", "mp", "--distributed-executor-backend", "mp"
    ),
    "WORKER_USE_RAY": Case(
        {"WORKER_USE_RAY": "1"},
        ("--distributed-executor-backend", "ray"),
        warning="WORKER_USE_RAY is read as DISTRIBUTED_EXECUTOR_BACKEND=ray",
    ),
    "PIPELINE_PARALLEL_SIZE": flag("PIPELINE_PARALLEL_SIZE", "2", "--pipeline-parallel-size", "2"),
    "TENSOR_PARALLEL_SIZE": flag("TENSOR_PARALLEL_SIZE", "2", "--tensor-parallel-size", "2"),
    "MAX_PARALLEL_LOADING_WORKERS": gone(
        "MAX_PARALLEL_LOADING_WORKERS", "2", "vLLM itself ignores it: every process loads its own part"
    ),
    "RAY_WORKERS_USE_NSIGHT": Case(
        {"RAY_WORKERS_USE_NSIGHT": "1", "DISTRIBUTED_EXECUTOR_BACKEND": "ray"},
        ("--distributed-executor-backend", "ray", "--ray-workers-use-nsight"),
    ),
    "ENABLE_PREFIX_CACHING": flag("ENABLE_PREFIX_CACHING", "False", "--no-enable-prefix-caching"),
    "DISABLE_SLIDING_WINDOW": flag("DISABLE_SLIDING_WINDOW", "1", "--disable-sliding-window"),
    "USE_V2_BLOCK_MANAGER": gone("USE_V2_BLOCK_MANAGER", "1", "the block manager it chose is the only one since"),
    "NUM_LOOKAHEAD_SLOTS": gone("NUM_LOOKAHEAD_SLOTS", "4", "vLLM reserves slots for speculative decoding by itself"),
    "SEED": flag("SEED", "7", "--seed", "7"),
    "NUM_GPU_BLOCKS_OVERRIDE": flag("NUM_GPU_BLOCKS_OVERRIDE", "64", "--num-gpu-blocks-override", "64"),
    "MAX_NUM_BATCHED_TOKENS": flag("MAX_NUM_BATCHED_TOKENS", "8k", "--max-num-batched-tokens", "8000"),
    "MAX_NUM_SEQS": flag("MAX_NUM_SEQS", "256", "--max-num-seqs", "256"),
    "MAX_LOGPROBS": Case({"MAX_LOGPROBS": "5"}, ("--max-logprobs", "5"), {"jobs.max_logprobs": 5}),
    "DISABLE_LOG_STATS": Case({"DISABLE_LOG_STATS": "1"}, environment=YEAR),
    "QUANTIZATION": flag("QUANTIZATION", "awq", "--quantization", "awq"),
    "ROPE_SCALING": flag(
        "ROPE_SCALING",
        '{"type": "dynamic", "factor": 2}',
        "--hf-overrides",
        '{"rope_parameters":{"factor":2,"rope_type":"dynamic","rope_theta":500000.0}}',
    ),
    "ROPE_THETA": flag(
        "ROPE_THETA", "1e6", "--hf-overrides", '{"rope_parameters":{"rope_type":"default","rope_theta":1000000.0}}'
    ),
    "TOKENIZER_POOL_SIZE": Case(
        {"TOKENIZER_POOL_SIZE": "4"},
        ("--renderer-num-workers", "4"),
        warning="TOKENIZER_POOL_SIZE=4 is read as RENDERER_NUM_WORKERS=4",
    ),
    "TOKENIZER_POOL_TYPE": gone("TOKENIZER_POOL_TYPE", "other", "tokenizers run in threads now"),
    "TOKENIZER_POOL_EXTRA_CONFIG": gone("TOKENIZER_POOL_EXTRA_CONFIG", '{"a": 1}', "tokenizers run in threads now"),
    "ENABLE_LORA": flag("ENABLE_LORA", "true", "--enable-lora"),
    "MAX_LORAS": flag("MAX_LORAS", "4", "--max-loras", "4"),
    "MAX_LORA_RANK": Case(
        {"MAX_LORA_RANK": "24"},
        ("--max-lora-rank", "32"),
        warning="MAX_LORA_RANK=24 is rounded up to 32, the next rank that vLLM supports",
    ),
    "LORA_EXTRA_VOCAB_SIZE": gone(
        "LORA_EXTRA_VOCAB_SIZE", "512", "adapters with extra vocabulary are no longer supported"
    ),
    "LORA_DTYPE": Case(
        {"LORA_DTYPE": "float32"},
        warning="LORA_DTYPE=float32 is read as auto: vLLM keeps adapters in the model's data type",
    ),
    "LONG_LORA_SCALING_FACTORS": gone("LONG_LORA_SCALING_FACTORS", "4.0", "LongLoRA support was removed from vLLM"),
    "MAX_CPU_LORAS": flag("MAX_CPU_LORAS", "8", "--max-cpu-loras", "8"),
    "FULLY_SHARDED_LORAS": flag("FULLY_SHARDED_LORAS", "1", "--fully-sharded-loras"),
    "SCHEDULER_DELAY_FACTOR": gone("SCHEDULER_DELAY_FACTOR", "0.5", "the scheduler no longer delays prompts"),
    "ENABLE_CHUNKED_PREFILL": flag("ENABLE_CHUNKED_PREFILL", "0", "--no-enable-chunked-prefill"),
    "SPECULATIVE_MODEL": Case(DRAFT, ("--speculative-config", '{"num_speculative_tokens":4,"model":"org/draft"}')),
    "NUM_SPECULATIVE_TOKENS": Case(NGRAM, ("--speculative-config", '{"num_speculative_tokens":4,"method":"ngram"}')),
    "SPECULATIVE_DRAFT_TENSOR_PARALLEL_SIZE": Case(
        {**DRAFT, "SPECULATIVE_DRAFT_TENSOR_PARALLEL_SIZE": "1"},
        (
            "--speculative-config",
            '{"num_speculative_tokens":4,"draft_tensor_parallel_size":1,"model":"org/draft"}',
        ),
    ),
    "SPECULATIVE_MAX_MODEL_LEN": Case(
        {**DRAFT, "SPECULATIVE_MAX_MODEL_LEN": "512"},
        ("--speculative-config", '{"num_speculative_tokens":4,"max_model_len":512,"model":"org/draft"}'),
    ),
    "SPECULATIVE_DISABLE_BY_BATCH_SIZE": Case(
        {**NGRAM, "SPECULATIVE_DISABLE_BY_BATCH_SIZE": "8"},
        (
            "--speculative-config",
            '{"num_speculative_tokens":4,"method":"ngram",'
            '"num_speculative_tokens_per_batch_size":[[1,8,4],[9,1000000,0]]}',
        ),
    ),
    "NGRAM_PROMPT_LOOKUP_MAX": Case(
        {"NUM_SPECULATIVE_TOKENS": "4", "NGRAM_PROMPT_LOOKUP_MAX": "3"},
        ("--speculative-config", '{"num_speculative_tokens":4,"method":"ngram","prompt_lookup_max":3}'),
    ),
    "NGRAM_PROMPT_LOOKUP_MIN": Case(
        {**NGRAM, "NGRAM_PROMPT_LOOKUP_MAX": "3", "NGRAM_PROMPT_LOOKUP_MIN": "2"},
        (
            "--speculative-config",
            '{"num_speculative_tokens":4,"method":"ngram","prompt_lookup_max":3,"prompt_lookup_min":2}',
        ),
    ),
    "SPEC_DECODING_ACCEPTANCE_METHOD": gone(
        "SPEC_DECODING_ACCEPTANCE_METHOD",
        "typical_acceptance_sampler",
        "vLLM has only rejection sampling",
    ),
    "TYPICAL_ACCEPTANCE_SAMPLER_POSTERIOR_THRESHOLD": gone(
        "TYPICAL_ACCEPTANCE_SAMPLER_POSTERIOR_THRESHOLD", "0.09", SAMPLER
    ),
    "TYPICAL_ACCEPTANCE_SAMPLER_POSTERIOR_ALPHA": gone("TYPICAL_ACCEPTANCE_SAMPLER_POSTERIOR_ALPHA", "0.3", SAMPLER),
    "MODEL_LOADER_EXTRA_CONFIG": flag(
        "MODEL_LOADER_EXTRA_CONFIG", '{"concurrency": 8}', "--model-loader-extra-config", '{"concurrency":8}'
    ),
    "PREEMPTION_MODE": gone("PREEMPTION_MODE", "swap", "vLLM always recomputes"),
    "PREEMPTION_CHECK_PERIOD": gone("PREEMPTION_CHECK_PERIOD", "2.0", "no release of vLLM reads it"),
    "PREEMPTION_CPU_CAPACITY": gone("PREEMPTION_CPU_CAPACITY", "4", "no release of vLLM reads it"),
    "DISABLE_LOGGING_REQUEST": flag("DISABLE_LOGGING_REQUEST", "false", "--enable-log-requests"),
    "MAX_LOG_LEN": flag("MAX_LOG_LEN", "80", "--max-log-len", "80"),
    "TOKENIZER_NAME": Case({"TOKENIZER_NAME": "b", "TOKENIZER": "a"}, ("--tokenizer", "b")),
    "TOKENIZER_REVISION": flag("TOKENIZER_REVISION", "v1", "--tokenizer-revision", "v1"),
    "CUSTOM_CHAT_TEMPLATE": flag("CUSTOM_CHAT_TEMPLATE", "{{ x }}", "--chat-template", "{{ x }}"),
    "GPU_MEMORY_UTILIZATION": flag("GPU_MEMORY_UTILIZATION", "0.95", "--gpu-memory-utilization", "0.95"),
    "BLOCK_SIZE": flag("BLOCK_SIZE", "32", "--block-size", "32"),
    "SWAP_SPACE": gone(
        "SWAP_SPACE", "8", "vLLM recomputes instead of swapping; KV_OFFLOADING_SIZE is the nearest feature"
    ),
    "ENFORCE_EAGER": flag("ENFORCE_EAGER", "1", "--enforce-eager"),
    "MAX_SEQ_LEN_TO_CAPTURE": gone(
        "MAX_SEQ_LEN_TO_CAPTURE", "4096", "CUDA graphs no longer depend on the context's length"
    ),
    "DISABLE_CUSTOM_ALL_REDUCE": flag("DISABLE_CUSTOM_ALL_REDUCE", "1", "--disable-custom-all-reduce"),
    "DEFAULT_BATCH_SIZE": Case(
        {"DEFAULT_BATCH_SIZE": "10"}, fields={"jobs.batch_size": 10, "jobs.batch_sizes_set": True}
    ),
    "DEFAULT_MIN_BATCH_SIZE": Case(
        {"DEFAULT_MIN_BATCH_SIZE": "2", "MIN_BATCH_SIZE": "9"},
        fields={"jobs.min_batch_size": 2, "jobs.batch_sizes_set": True},
    ),
    "DEFAULT_BATCH_SIZE_GROWTH_FACTOR": Case(
        {"DEFAULT_BATCH_SIZE_GROWTH_FACTOR": "1.5"},
        fields={"jobs.batch_size_growth_factor": 1.5, "jobs.batch_sizes_set": True},
    ),
    "RAW_OPENAI_OUTPUT": Case({"RAW_OPENAI_OUTPUT": "false"}, fields={"jobs.raw_openai_output": False}),
    "OPENAI_SERVED_MODEL_NAME_OVERRIDE": Case(
        {"OPENAI_SERVED_MODEL_NAME_OVERRIDE": "gpt"}, fields={"engine.served_names": ("gpt", "facebook/opt-125m")}
    ),
    "OPENAI_RESPONSE_ROLE": flag("OPENAI_RESPONSE_ROLE", "bot", "--response-role", "bot"),
    "MAX_CONCURRENCY": Case({"MAX_CONCURRENCY": "30"}, fields={"queue.max_concurrency": 30}),
    "DISABLE_LOG_REQUESTS": flag("DISABLE_LOG_REQUESTS", "0", "--enable-log-requests"),
}


def differences(settings: Settings, empty: Settings) -> dict[str, Any]:
    """The fields in which two workers differ, engine arguments aside."""
    found = {}
    for group in ("engine", "jobs", "queue"):
        for name in getattr(empty, group).__slots__:
            value = getattr(getattr(settings, group), name)
            if name not in ("arguments", "environment") and value != getattr(getattr(empty, group), name):
                found[f"{group}.{name}"] = value
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_row_of_the_specification(name: str) -> None:
    """The whole effect is compared: arguments, fields, the child's variables and the warning."""
    case, facts = CASES[name], HostFacts(model_config=LLAMA)
    empty, settings = load({}, facts), load(case.env, facts)
    assert settings.engine.arguments == case.arguments
    assert differences(settings, empty) == case.fields
    assert dict(settings.engine.environment) == case.environment
    warnings = [warning for warning in settings.warnings if warning not in empty.warnings]
    assert warnings == ([case.warning] if case.warning else [])


def test_no_row_is_without_a_case() -> None:
    """The specification has 78 rows; each has a case that sets its variable."""
    rows = [setting.name for setting in catalog().values() if setting.specified]
    assert len(rows) == 78
    assert sorted(CASES) == sorted(rows)
    assert [name for name, case in CASES.items() if name not in case.env] == []


DEFAULTS = {setting.name: setting.default for setting in catalog().values() if setting.specified}


def test_the_documented_defaults_all_at_once_are_applied() -> None:
    """What the specification prints as defaults is a configuration like any other."""
    arguments = load(DEFAULTS | {"MODEL_NAME": "org/name"}).engine.arguments
    assert arguments == (
        "--no-enable-chunked-prefill",
        "--enable-log-requests",
        "--no-enable-lora",
        "--no-enable-prefix-caching",
        "--gpu-memory-utilization", "0.95",
        "--max-num-seqs", "256",
        "--structured-outputs-config", '{"backend":"outlines"}',
    )  # fmt: skip


def test_every_variable_empty_is_an_empty_environment() -> None:
    """Consoles send empty texts for fields without a value."""
    for text in ("", " ", "None", "null"):
        assert load(dict.fromkeys(DEFAULTS, text)) == load({})


def test_a_wrong_value_of_any_row_that_has_a_type_is_refused() -> None:
    """No number, yes-or-no or object is taken from a text that is none."""
    typed = [s for s in catalog().values() if s.specified and s.kind in ("bool", "int", "float", "size", "json")]
    live = {setting.name: "not that" for setting in typed if setting.handling != "gone"}
    with pytest.raises(ConfigurationError) as caught:
        load(live)
    refused = {problem.key for problem in caught.value.problems}
    assert sorted(set(live) - refused) == ["MODEL_LOADER_EXTRA_CONFIG"]  # which vLLM takes as a text too
