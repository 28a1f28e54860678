"""Faults that the real CPU engine can be started with, and the cause that the diagnosis must find.

Data only: the fault matrix starts the engine with each, `record_endings.py` records its log.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.engines.broken_models import (
    Break,
    adapter,
    adapter_of_another_base,
    cut_config,
    cut_tokenizer,
    cut_weights,
    edit,
    empty_weights,
    missing_shard,
    remove,
    whole,
)
from tests.support.engines.model_process import MODEL_PROCESS


@dataclass(frozen=True)
class Fault:
    """One fault. `{model}` and `{directory}` in arguments stand for the copied model and the folder it is in."""

    name: str
    cause: str
    arguments: tuple[str, ...] = ()
    break_model: Break = whole
    model: str = "{model}"
    environment: dict[str, str] = field(default_factory=dict)
    contains: tuple[str, ...] = ()  # what the sentence must contain
    container: str = ""  # a shell command for a mount namespace, run before the engine starts there


TP2 = ("--tensor-parallel-size", "2")
LORA = ("--enable-lora", "--lora-modules", "wrong={directory}/adapter")

FAULTS = (
    Fault("no_such_path", "model not found", model="/no/such/model", contains=("/no/such/model",)),
    Fault(
        "no_such_repository",
        "model not found",
        model="nobody/no-such-model",
        contains=("nobody/no-such-model",),
    ),
    Fault("cut_weights", "weights damaged", break_model=cut_weights),
    Fault("empty_weights", "weights damaged", break_model=empty_weights),
    Fault("missing_shard", "weights missing", break_model=missing_shard),
    Fault("no_weights", "weights missing", break_model=remove("model.safetensors")),
    Fault(
        "other_shape", "weights do not fit the configuration", break_model=edit("config.json", intermediate_size=640)
    ),
    Fault("cut_config", "configuration damaged", break_model=cut_config),
    Fault("no_config", "configuration missing", break_model=remove("config.json")),
    Fault("no_tokenizer", "tokenizer missing", break_model=remove("tokenizer.json", "tokenizer_config.json")),
    Fault("cut_tokenizer", "tokenizer damaged", break_model=cut_tokenizer, contains=("tokenizer.json",)),
    Fault(
        "unknown_architecture",
        "unknown architecture",
        break_model=edit("config.json", architectures=["ParakeetForCausalLM"]),
        contains=("ParakeetForCausalLM",),
    ),
    Fault(
        "unknown_model_type",
        "unknown architecture",
        break_model=edit("config.json", model_type="parakeet"),
        contains=("parakeet",),
    ),
    Fault(
        "remote_code",
        "remote code needed",
        break_model=edit("config.json", model_type="parakeet", auto_map={"AutoConfig": "parakeet.ParakeetConfig"}),
        contains=("TRUST_REMOTE_CODE",),
    ),
    Fault("bad_flag", "bad flag", ("--no-such-flag", "1"), contains=("--no-such-flag",)),
    Fault("bad_value", "bad value", ("--dtype", "float99"), contains=("float99",)),
    Fault("refused_value", "bad value", ("--max-num-seqs", "-3"), contains=("SchedulerConfig",)),
    Fault("too_long", "context too long", ("--max-model-len", "200000"), contains=("131072", "MAX_MODEL_LEN")),
    Fault(
        "kv_too_small",
        "KV cache too small",
        (
            "--kv-cache-memory-bytes",
            "50000000",
            "--max-model-len",
            "131072",
        ),  # set by the user, so the worker does not lower it
        contains=("MAX_MODEL_LEN",),
    ),
    Fault(
        "no_memory",
        "memory short",
        environment={"VLLM_CPU_KVCACHE_SPACE": "4000"},
        contains=("VLLM_CPU_KVCACHE_SPACE",),
    ),
    Fault("quantization", "quantization unsupported", ("--quantization", "squeezellm"), contains=("squeezellm",)),
    Fault(
        "quantized_weights",
        "quantization unsupported",
        break_model=edit("config.json", quantization_config={"quant_method": "gguf2"}),
        contains=("gguf2",),
    ),
    Fault("quantization_here", "quantization unsupported", ("--quantization", "fp8"), contains=("fp8",)),
    Fault("adapter_rank", "adapter rank", LORA, break_model=adapter(64), contains=("MAX_LORA_RANK",)),
    Fault("no_adapter", "adapter not found", LORA, contains=("LORA_MODULES",)),
    Fault(
        "another_base",
        "adapter of another base",
        LORA,
        break_model=adapter_of_another_base,
        contains=("wrong",),
    ),
    Fault("no_template_file", "chat template not found", ("--chat-template", "/no/such/template.jinja")),
    Fault(
        "tool_parser",
        "bad value",
        ("--enable-auto-tool-choice", "--tool-call-parser", "polly"),
        contains=("polly",),
    ),
    Fault(
        "no_draft_model",
        "model not found",
        ("--speculative-config", '{"model": "/no/such/draft", "num_speculative_tokens": 2}'),
        contains=("/no/such/draft",),
    ),
    Fault("old_rope", "RoPE settings", ("--hf-overrides", '{"rope_scaling": {"type": "dynamic", "factor": 2}}')),
    Fault(
        "heads_not_divisible",
        "parallel sizes",
        ("--tensor-parallel-size", "3"),
        contains=("TENSOR_PARALLEL_SIZE",),
    ),
    Fault("threads_not_bound", "parallel sizes", TP2, contains=("VLLM_CPU_OMP_THREADS_BIND",)),
    Fault("too_many_stages", "parallel sizes", ("--pipeline-parallel-size", "5")),
    Fault("ray", "Ray missing", (*TP2, "--distributed-executor-backend", "ray"), contains=("ray",)),
    Fault(
        "unwritable_cache",
        "cache not writable",
        ("--no-enforce-eager",),  # compilation needs the cache
        environment={"VLLM_CACHE_ROOT": "/dev/null/cache"},
        contains=("/dev/null/cache", "VLLM_CACHE_ROOT"),
    ),
    Fault("load_format", "bad value", ("--load-format", "bitsandbytes"), contains=("bitsandbytes",)),
)

# Faults of the container's limits, which are options of `docker run`.
LIMITS = (
    Fault(
        "small_shm",
        "shared memory too small",
        environment=MODEL_PROCESS,
        container="mount -t tmpfs -o size=64m tmpfs /dev/shm",
    ),
    Fault(
        "half_shm",
        "shared memory too small",
        environment=MODEL_PROCESS,
        container="mount -t tmpfs -o size=200m tmpfs /dev/shm",
    ),
    Fault("address_space_1g", "address space limited", container="ulimit -v 1000000"),
    Fault("address_space_2500m", "address space limited", container="ulimit -v 2500000"),
    Fault("files_64", "too few open files", container="ulimit -n 64"),
    Fault("files_32", "too few open files", container="ulimit -n 32"),
)
