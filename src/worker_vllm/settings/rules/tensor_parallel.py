"""How many GPUs share one model: the automatic size, and the one that would hold it where the chosen one does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config.json that describes the language model: its text_config, or all of it."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) and inner else config


def attention_heads(config: Mapping[str, Any] | None) -> int | None:
    """The head count that tensor parallelism has to divide, from a config.json; None when it does not say."""
    if config is None:
        return None
    text = text_part(config)
    heads = text.get("num_attention_heads") or text.get("n_head") or text.get("n_heads")
    return heads if isinstance(heads, int) and heads > 0 else None


def automatic_size(gpus: int, heads: int | None) -> int:
    """The largest number of GPUs, at most `gpus`, that the heads divide by; a power of two where they are unknown."""
    if heads is None:
        return 1 << (gpus.bit_length() - 1)
    return next(size for size in range(gpus, 0, -1) if heads % size == 0)


def larger_size(size: int, most: int, heads: int | None, holds: Callable[[int], bool]) -> int | None:
    """The smallest tensor parallel size above `size` that the heads divide by and that `holds` the model, if any."""
    sizes = (larger for larger in range(size + 1, most + 1) if heads is None or heads % larger == 0)
    return next((larger for larger in sizes if holds(larger)), None)
