"""Mistakes that the real CPU engine can be started with: what to do wrong, and which row of the diagnosis says so.

Data alone: the fault matrix starts the engine with each, `record_endings.py` records what the engine says.
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


@dataclass(frozen=True)
class Fault:
    """One mistake. `{model}` and `{directory}` in arguments stand for the copied model and the folder it lies in."""

    name: str
    cause: str
    arguments: tuple[str, ...] = ()
    break_model: Break = whole
    model: str = "{model}"
    environment: dict[str, str] = field(default_factory=dict)
    says: tuple[str, ...] = ()  # what the sentence must contain
    container: str = ""  # what a shell does, in a mount namespace of its own, before the engine is started there


TP2 = ("--tensor-parallel-size", "2")
LORA = ("--enable-lora", "--lora-modules", "wrong={directory}/adapter")

FAULTS = (
    Fault("no_such_path", "model not found", model="/no/such/model", says=("/no/such/model",)),
    Fault("no_such_repository", "model not found", model="nobody/no-such-model", says=("nobody/no-such-model",)),
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
    Fault("cut_tokenizer", "tokenizer damaged", break_model=cut_tokenizer, says=("tokenizer.json",)),
    Fault(
        "unknown_architecture",
        "unknown architecture",
        break_model=edit("config.json", architectures=["ParakeetForCausalLM"]),
        says=("ParakeetForCausalLM",),
    ),
    Fault(
        "unknown_model_type",
        "unknown architecture",
        break_model=edit("config.json", model_type="parakeet"),
        says=("parakeet",),
    ),
    Fault(
        "remote_code",
        "remote code needed",
        break_model=edit("config.json", model_type="parakeet", auto_map={"AutoConfig": "parakeet.ParakeetConfig"}),
        says=("TRUST_REMOTE_CODE",),
    ),
    Fault("bad_flag", "bad flag", ("--no-such-flag", "1"), says=("--no-such-flag",)),
    Fault("bad_value", "bad value", ("--dtype", "float99"), says=("float99",)),
    Fault("refused_value", "bad value", ("--max-num-seqs", "-3"), says=("SchedulerConfig",)),
    Fault("too_long", "context too long", ("--max-model-len", "200000"), says=("131072", "MAX_MODEL_LEN")),
    Fault(
        "kv_too_small",
        "KV cache too small",
        ("--kv-cache-memory-bytes", "50000000", "--max-model-len", "131072"),  # said by the user, so not made smaller
        says=("MAX_MODEL_LEN",),
    ),
    Fault(
        "no_memory", "memory short", environment={"VLLM_CPU_KVCACHE_SPACE": "4000"}, says=("VLLM_CPU_KVCACHE_SPACE",)
    ),
    Fault("quantization", "quantization unsupported", ("--quantization", "squeezellm"), says=("squeezellm",)),
    Fault(
        "quantized_weights",
        "quantization unsupported",
        break_model=edit("config.json", quantization_config={"quant_method": "gguf2"}),
        says=("gguf2",),
    ),
    Fault("quantization_here", "quantization unsupported", ("--quantization", "fp8"), says=("fp8",)),
    Fault("adapter_rank", "adapter rank", LORA, break_model=adapter(64), says=("MAX_LORA_RANK",)),
    Fault("no_adapter", "adapter not found", LORA, says=("LORA_MODULES",)),
    Fault("another_base", "adapter of another base", LORA, break_model=adapter_of_another_base, says=("wrong",)),
    Fault("no_template_file", "chat template not found", ("--chat-template", "/no/such/template.jinja")),
    Fault("tool_parser", "bad value", ("--enable-auto-tool-choice", "--tool-call-parser", "polly"), says=("polly",)),
    Fault(
        "no_draft_model",
        "model not found",
        ("--speculative-config", '{"model": "/no/such/draft", "num_speculative_tokens": 2}'),
        says=("/no/such/draft",),
    ),
    Fault("old_rope", "RoPE settings", ("--hf-overrides", '{"rope_scaling": {"type": "dynamic", "factor": 2}}')),
    Fault("heads_not_divisible", "parallel sizes", ("--tensor-parallel-size", "3"), says=("TENSOR_PARALLEL_SIZE",)),
    Fault("threads_not_bound", "parallel sizes", TP2, says=("VLLM_CPU_OMP_THREADS_BIND",)),
    Fault("too_many_stages", "parallel sizes", ("--pipeline-parallel-size", "5")),
    Fault("ray", "Ray missing", (*TP2, "--distributed-executor-backend", "ray"), says=("ray",)),
    Fault(
        "unwritable_cache",
        "cache not writable",
        ("--no-enforce-eager",),  # what is compiled must be kept somewhere
        environment={"VLLM_CACHE_ROOT": "/dev/null/cache"},
        says=("/dev/null/cache", "VLLM_CACHE_ROOT"),
    ),
    Fault("load_format", "bad value", ("--load-format", "bitsandbytes"), says=("bitsandbytes",)),
)

# The container's limits: what `docker run` was told, or was not.
LIMITS = (
    Fault("small_shm", "shared memory too small", container="mount -t tmpfs -o size=64m tmpfs /dev/shm"),
    Fault("half_shm", "shared memory too small", container="mount -t tmpfs -o size=200m tmpfs /dev/shm"),
    Fault("address_space_1g", "address space limited", container="ulimit -v 1000000"),
    Fault("address_space_2500m", "address space limited", container="ulimit -v 2500000"),
    Fault("files_64", "too few open files", container="ulimit -n 64"),
    Fault("files_32", "too few open files", container="ulimit -n 32"),
)
