"""Tensor parallel size: the automatic one, and a larger one that a model fits into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config.json that describes the language model: its text_config, or all of it."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) and inner else config


def attention_heads(config: Mapping[str, Any] | None) -> int | None:
    """The number of attention heads, which tensor parallelism must divide; None when the config.json has none."""
    if config is None:
        return None
    text = text_part(config)
    heads = text.get("num_attention_heads") or text.get("n_head") or text.get("n_heads")
    return heads if isinstance(heads, int) and heads > 0 else None


def automatic_size(gpus: int, heads: int | None) -> int:
    """The largest size up to `gpus` that divides the heads; a power of two where the heads are unknown."""
    if heads is None:
        return 1 << (gpus.bit_length() - 1)
    return next(size for size in range(gpus, 0, -1) if heads % size == 0)


def larger_size(size: int, most: int, heads: int | None, holds: Callable[[int], bool]) -> int | None:
    """The smallest size above `size` that divides the heads and `holds` the model; None without one."""
    sizes = (larger for larger in range(size + 1, most + 1) if heads is None or heads % larger == 0)
    return next((larger for larger in sizes if holds(larger)), None)
