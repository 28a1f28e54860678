"""Estimates whether a model fits into these GPUs, from its configuration and the sizes of its files. Pure.

It refuses only what is certain: weights that are larger than all GPU memory. Otherwise it reports the longest context
that would fit; vLLM measures the exact one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker_vllm.engine.preflight.nvidia import Gpu
from worker_vllm.errors import Problem
from worker_vllm.settings.arguments import EngineArguments
from worker_vllm.settings.rules.tensor_parallel import attention_heads, larger_size

GIB = 1 << 30
UTILIZATION = 0.92  # vLLM 0.32.0's own default
OVERHEAD_BYTES = 3 * GIB // 2  # CUDA context, activations, graphs: per GPU, roughly
BYTES = {"float32": 4, "float": 4, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "int8": 1}
SHARDING = ("--tensor-parallel-size", "--pipeline-parallel-size")


@dataclass(frozen=True, slots=True)
class MemoryFit:
    """The result of the estimate."""

    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def number(text: str | None, default: float) -> float:
    """The number in a flag's value; the default where it is no number (`auto`, `8k`)."""
    try:
        return float(text) if text is not None else default
    except ValueError:
        return default


def kv_bytes_per_token(config: Mapping[str, Any], dtype: str) -> int:
    """Bytes of KV cache per token over all layers; 0 where the configuration lacks the sizes."""
    inner = config.get("text_config") or config
    layers, width = inner.get("num_hidden_layers"), BYTES.get(dtype, 2)
    if not isinstance(layers, int):
        return 0
    if isinstance(inner.get("kv_lora_rank"), int):  # multi-head latent attention keeps one compressed vector
        return layers * width * (int(inner["kv_lora_rank"]) + int(inner.get("qk_rope_head_dim") or 0))
    heads = inner.get("num_attention_heads") or 0
    kv_heads = inner.get("num_key_value_heads") or heads
    head_dim = inner.get("head_dim") or (int(inner.get("hidden_size") or 0) // heads if heads else 0)
    return 2 * layers * width * int(kv_heads) * int(head_dim)


def estimate(
    config: Mapping[str, Any], weights_bytes: int, gpus: Sequence[Gpu], arguments: Sequence[str]
) -> MemoryFit:
    """Compare weights and KV cache with the memory of the GPUs that the arguments distribute the model over."""
    given = EngineArguments(arguments)
    tensor, pipeline = (int(number(given.get(flag), 1)) for flag in SHARDING)
    parts = max(1, tensor * pipeline)
    used = list(gpus)[:parts]
    if not used or not weights_bytes or given.get("--load-format") == "dummy":
        return MemoryFit()
    total = sum(gpu.total_bytes for gpu in used)
    share = number(given.get("--gpu-memory-utilization"), UTILIZATION)

    def left_on(count: int) -> float:
        return sum(gpu.total_bytes for gpu in gpus[:count]) * share - weights_bytes - OVERHEAD_BYTES * count

    heads, left, most = attention_heads(config), left_on(len(used)), len(gpus) // max(1, pipeline)
    if weights_bytes > total:
        more = larger_size(tensor, most, heads, lambda size: left_on(size * pipeline) > 0)
        return MemoryFit(problems=(too_large(weights_bytes, total, parts, change(more, len(gpus))),))
    per_token = kv_bytes_per_token(config, given.get("--kv-cache-dtype") or str(config.get("dtype") or ""))
    asked = number(given.get("--max-model-len"), float(config.get("max_position_embeddings") or 0))
    if per_token and left < per_token * asked:
        fits = max(0, int(left // per_token) // 16 * 16)
        note = f"by estimate about {fits} tokens of context fit into the GPU's memory, not {asked:.0f}"
        note += "; lower MAX_MODEL_LEN"
        more = larger_size(tensor, most, heads, lambda size: left_on(size * pipeline) >= per_token * asked)
        return MemoryFit(notes=(note if more is None else f"{note}, or {change(more, len(gpus))}",))
    return MemoryFit()


def change(size: int | None, gpus: int) -> str:
    """What to change: use more of this machine's GPUs where those are enough."""
    if size is None:
        return "use a larger GPU, more GPUs with TENSOR_PARALLEL_SIZE, or a quantized model"
    return f"set TENSOR_PARALLEL_SIZE={size}: this machine has {gpus} GPUs"


def too_large(weights_bytes: int, total: int, parts: int, change: str) -> Problem:
    """The problem of weights that are larger than all GPU memory."""
    memory = f"{total / GIB:.0f} GiB of GPU memory" + (f" on {parts} GPUs" if parts > 1 else "")
    return Problem(
        "MODEL_NAME",
        f"{weights_bytes / GIB:.1f} GiB of weights",
        f"a model that fits into {memory}",
        change,
    )
