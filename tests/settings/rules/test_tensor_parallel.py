"""GPUs: the automatic size, and the sentence for a model that does not fit as it is set."""

from __future__ import annotations

import pytest

from worker_vllm.engine.preflight.memory_fit import GIB, MemoryFit, estimate
from worker_vllm.engine.preflight.nvidia import Gpu
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import load
from worker_vllm.settings.rules.tensor_parallel import automatic_size

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
def test_all_gpus_are_used_unless_a_size_is_set(env: dict[str, str], gpus: int, arguments: tuple[str, ...]) -> None:
    """An explicit size always wins."""
    config = {"num_attention_heads": 32, "architectures": ["LlamaForCausalLM"]}
    assert load(env, HostFacts(gpus=gpus, model_config=config)).engine.arguments == arguments


def test_a_size_below_the_machines_is_explained() -> None:
    """A warning gives the reason for an idle GPU."""
    settings = load({"MODEL_NAME": "m"}, HostFacts(gpus=3, model_config={"num_attention_heads": 32}))
    assert settings.warnings == ("TENSOR_PARALLEL_SIZE is 2 of 3 GPUs: its 32 attention heads do not divide by 3",)


CARD = Gpu("card", 80 * GIB, 79 * GIB, (9, 0))
SEVENTY = {"num_attention_heads": 64, "num_key_value_heads": 8, "num_hidden_layers": 80, "hidden_size": 8192}


def test_a_model_too_large_for_one_gpu_is_refused_with_a_size_that_fits() -> None:
    """At the documented TENSOR_PARALLEL_SIZE=1, on a machine that has them."""
    (problem,) = estimate(SEVENTY, 140 * GIB, [CARD] * 4, ()).problems
    assert str(problem) == (
        'MODEL_NAME="140.0 GiB of weights": expected a model that fits into 80 GiB of GPU memory; '
        "set TENSOR_PARALLEL_SIZE=2: this machine has 4 GPUs"
    )


@pytest.mark.parametrize(
    ("weights", "gpus", "arguments", "change"),
    [
        (140, 1, (), "use a larger GPU, more GPUs with TENSOR_PARALLEL_SIZE, or a quantized model"),
        (900, 4, (), "use a larger GPU, more GPUs with TENSOR_PARALLEL_SIZE, or a quantized model"),
        (200, 4, (), "set TENSOR_PARALLEL_SIZE=4: this machine has 4 GPUs"),
        (200, 8, ("--pipeline-parallel-size", "2"), "set TENSOR_PARALLEL_SIZE=2: this machine has 8 GPUs"),
    ],
)
def test_the_advice_follows_what_would_work(weights: int, gpus: int, arguments: tuple[str, ...], change: str) -> None:
    """No size that the heads do not divide by, none that the machine lacks."""
    (problem,) = estimate(SEVENTY, weights * GIB, [CARD] * gpus, arguments).problems
    assert problem.change == change


def test_a_context_that_fits_more_gpus_is_refused_with_their_number() -> None:
    """The weights fit, the documented context does not."""
    config = SEVENTY | {"max_position_embeddings": 131072}
    (note,) = estimate(config, 70 * GIB, [CARD] * 4, ()).notes
    assert note.endswith(
        "tokens of context fit into the GPU's memory, not 131072; lower MAX_MODEL_LEN, "
        "or set TENSOR_PARALLEL_SIZE=2: this machine has 4 GPUs"
    )


def test_a_model_that_fits_gets_no_advice() -> None:
    """No warning."""
    assert estimate(SEVENTY, 60 * GIB, [CARD] * 4, ()) == MemoryFit()
