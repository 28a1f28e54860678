"""How many GPUs share one model: the automatic size, and what to say when the chosen one cannot hold the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GIB = 2**30
RESERVE = 1.5 * GIB  # activations, CUDA context and graphs: what a start takes besides weights and KV cache


def attention_heads(config: Mapping[str, Any] | None) -> int | None:
    """The head count that tensor parallelism has to divide, from a config.json; None when it does not say."""
    if config is None:
        return None
    text = config.get("text_config") or config
    heads = text.get("num_attention_heads") or text.get("n_head") or text.get("n_heads")
    return heads if isinstance(heads, int) and heads > 0 else None


def automatic_size(gpus: int, heads: int | None) -> int:
    """The largest number of GPUs, at most `gpus`, that the heads divide by; a power of two where they are unknown."""
    if heads is None:
        return 1 << (gpus.bit_length() - 1)
    return next(size for size in range(gpus, 0, -1) if heads % size == 0)


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be held, and by what. Bytes throughout."""

    weights: int
    kv_cache: int  # the least that serves one request of the longest context
    gpu: int  # memory of one GPU
    share: float  # of it that the engine may use
    gpus: int  # in this machine
    heads: int | None
    size: int = 1  # tensor × pipeline parallel size in force

    def fits(self, size: int) -> bool:
        """Whether weights and cache, spread over this many GPUs, leave room for the rest."""
        return (self.weights + self.kv_cache) / size + RESERVE <= self.gpu * self.share


def advice(load: Load) -> str | None:
    """One sentence when the model does not fit as it is set: the size that would fit, or that none here does."""
    if load.fits(load.size):
        return None
    needed = load.weights + load.kv_cache
    plain = (
        f"the model needs about {needed / GIB:.1f} GiB and {load.size} GPU(s) of {load.gpu / GIB:.1f} GiB "
        f"at GPU_MEMORY_UTILIZATION={load.share:g} do not hold it"
    )
    sizes = range(load.size + 1, load.gpus + 1)
    enough = [size for size in sizes if load.fits(size) and (load.heads is None or load.heads % size == 0)]
    if enough:
        return f"{plain}; set TENSOR_PARALLEL_SIZE={enough[0]}: this machine has {load.gpus} GPUs"
    return (
        f"{plain}, nor do all {load.gpus} of this machine; choose a larger GPU, a quantized model, a shorter context"
    )


def kv_bytes_per_token(config: Mapping[str, Any], element_bytes: int = 2) -> int | None:
    """KV cache bytes that one token takes in a decoder with full attention; None where config.json does not tell."""
    text = config.get("text_config") or config
    heads = attention_heads(config)
    layers, hidden = text.get("num_hidden_layers"), text.get("hidden_size")
    if not (heads and isinstance(layers, int) and isinstance(hidden, int)):
        return None
    key_heads = text.get("num_key_value_heads") or heads
    size = text.get("head_dim") or hidden // heads
    return int(2 * layers * key_heads * size * element_bytes)
