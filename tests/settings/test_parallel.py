"""GPUs: the automatic size, and the sentence for a model that does not fit as it is set."""

from __future__ import annotations

import pytest

from worker_vllm.settings.facts import Facts
from worker_vllm.settings.load import load
from worker_vllm.settings.parallel import GIB, Load, advice, automatic_size, kv_bytes_per_token

SIZE = "--tensor-parallel-size"


@pytest.mark.parametrize(
    ("gpus", "heads", "size"), [(1, 32, 1), (2, 32, 2), (3, 32, 2), (4, 14, 2), (8, 7, 7), (6, None, 4), (8, None, 8)]
)
def test_the_automatic_size_divides_the_heads(gpus: int, heads: int | None, size: int) -> None:
    """The largest such number; a power of two where the heads are unknown."""
    assert automatic_size(gpus, heads) == size


@pytest.mark.parametrize(
    ("env", "gpus", "arguments"),
    [
        ({}, 4, (SIZE, "4")),
        ({"TENSOR_PARALLEL_SIZE": "1"}, 4, ()),
        ({"TENSOR_PARALLEL_SIZE": "2"}, 4, (SIZE, "2")),
        ({"PIPELINE_PARALLEL_SIZE": "2"}, 4, ("--pipeline-parallel-size", "2", SIZE, "2")),
        ({"DATA_PARALLEL_SIZE": "4"}, 4, ("--data-parallel-size", "4")),
        ({"VLLM_EXTRA_ARGS": "-tp 1"}, 4, ()),
        ({}, 1, ()),
        ({}, 0, ()),
        ({}, 3, (SIZE, "2")),
    ],
)
def test_all_gpus_are_used_unless_somebody_said_how_many(
    env: dict[str, str], gpus: int, arguments: tuple[str, ...]
) -> None:
    """An explicit size always wins."""
    config = {"num_attention_heads": 32, "architectures": ["LlamaForCausalLM"]}
    assert load(env, Facts(gpus=gpus, model_config=config)).engine.arguments == arguments


def test_a_size_below_the_machines_is_explained() -> None:
    """Nobody should wonder why a GPU idles."""
    settings = load({"MODEL_NAME": "m"}, Facts(gpus=3, model_config={"num_attention_heads": 32}))
    assert settings.warnings == ("TENSOR_PARALLEL_SIZE is 2 of 3 GPUs: its 32 attention heads do not divide by 3",)


SEVENTY = Load(weights=140 * GIB, kv_cache=GIB, gpu=80 * GIB, share=0.92, gpus=4, heads=64)


def test_a_model_too_large_for_one_gpu_is_told_how_many_would_do() -> None:
    """At the documented TENSOR_PARALLEL_SIZE=1, on a machine that has them."""
    assert advice(SEVENTY) == (
        "the model needs about 141.0 GiB and 1 GPU(s) of 80.0 GiB at GPU_MEMORY_UTILIZATION=0.92 do not hold it; "
        "set TENSOR_PARALLEL_SIZE=2: this machine has 4 GPUs"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights": 60 * GIB}, None),
        ({"size": 2}, None),
        ({"heads": 9}, "set TENSOR_PARALLEL_SIZE=3"),
        ({"gpus": 1}, "nor do all 1 of this machine"),
        ({"weights": 900 * GIB}, "nor do all 4 of this machine"),
    ],
)
def test_the_advice_follows_what_would_work(change: dict[str, int], words: str | None) -> None:
    """Silence where it fits; no size that the heads do not divide by."""
    from dataclasses import replace

    said = advice(replace(SEVENTY, **change))
    assert said is None if words is None else words in (said or "")


def test_cache_bytes_per_token_come_from_the_config() -> None:
    """Two for keys and values, times layers, key heads, head size and two bytes."""
    config = {"num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32, "hidden_size": 4096}
    assert kv_bytes_per_token(config) == 2 * 32 * 8 * 128 * 2
    assert kv_bytes_per_token({"text_config": config}) == 131072
    assert kv_bytes_per_token({}) is None
