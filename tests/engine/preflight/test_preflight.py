"""What is refused, or reported, before the engine starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.engines.broken_models import Break, copy_of_parrot, cut_weights, remove, whole
from worker_vllm.engine.diagnosis.types import Diagnosis, Scope
from worker_vllm.engine.preflight import preflight as checks
from worker_vllm.engine.preflight.memory_fit import MemoryFit, estimate, kv_bytes_per_token
from worker_vllm.engine.preflight.nvidia import Driver, Gpu
from worker_vllm.settings.types import EngineKind, EngineSettings

GIB = 1 << 30
CARD = Gpu("NVIDIA A40", 48 * GIB, 47 * GIB, (8, 6))
LLAMA_8B = {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "max_position_embeddings": 131072,
}


@pytest.mark.parametrize(
    ("break_model", "expected"),
    [
        (cut_weights, "its header expects"),
        (remove("tokenizer.json"), "no tokenizer"),
        (remove("config.json"), "config.json"),
    ],
    ids=["cut weights", "no tokenizer", "no configuration"],
)
def test_an_incomplete_model_is_refused_without_an_engine(tmp_path: Path, break_model: Break, expected: str) -> None:
    """A fault of the settings, one sentence with the variable's name."""
    model = copy_of_parrot(tmp_path, break_model)
    refusal = checks.preflight(EngineSettings(model=str(model), served_names=("m",)), {}).refusal
    assert refusal is not None
    assert refusal.scope is Scope.SETTINGS
    assert refusal.sentence.startswith(f'MODEL_NAME="{model}": expected')
    assert expected in refusal.sentence


def test_what_is_on_disk_is_served_by_path_and_offline(tmp_path: Path) -> None:
    """The hub may be down and HF_TOKEN wrong: no request is sent."""
    model = copy_of_parrot(tmp_path, whole)
    environment = {"HF_TOKEN": "hf_expired", "HF_ENDPOINT": "http://127.0.0.1:9"}
    checked = checks.preflight(EngineSettings(model=str(model), served_names=("m",)), environment)
    assert checked.refusal is None
    assert checked.settings.model == str(model)
    assert checked.settings.served_names == ("m",)
    assert checked.settings.environment["HF_HUB_OFFLINE"] == "1"


def test_an_echo_engine_needs_no_model() -> None:
    """No model is searched for."""
    settings = EngineSettings(kind=EngineKind.ECHO, model="nowhere")
    expected = checks.Preflight(settings, settings, key=f"echo/{settings.served_names[-1]}")
    assert checks.preflight(settings, {}) == expected


def test_an_old_driver_is_the_machines_fault() -> None:
    """A driver that is new enough is no problem."""
    assert checks.host_problems(Driver("550.54", (12, 4), (CARD,))) == ()
    old = checks.host_problems(Driver("470.1", (11, 4), (CARD,)))
    assert old == (
        "the NVIDIA driver 470.1 runs CUDA up to 11.4, and the engine needs 12.0: "
        "restrict the endpoint to machines with a newer CUDA version",
    )
    assert checks.Preflight(EngineSettings(), EngineSettings(), host_problems=old).refusal == Diagnosis(
        "machine", Scope.HOST, old[0]
    )


def test_an_unusable_temporary_directory_is_reported(tmp_path: Path) -> None:
    """The engine's socket is in the temporary directory."""
    settings, missing = (
        EngineSettings(model=str(copy_of_parrot(tmp_path, whole)), served_names=("m",)),
        tmp_path / "gone",
    )
    refusal = checks.preflight(settings, {"TMPDIR": str(missing)}).refusal
    assert refusal is not None
    assert refusal.scope is Scope.SETTINGS
    assert refusal.sentence.startswith(f'TMPDIR="{missing}": expected a writable directory')


@pytest.mark.parametrize(
    ("config", "dtype", "per_token"),
    [
        (LLAMA_8B, "bfloat16", 131072),
        (LLAMA_8B, "fp8", 65536),
        ({"text_config": LLAMA_8B}, "", 131072),
        ({"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}, "float32", 1024),
        ({"num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64}, "bfloat16", 70272),
        ({}, "bfloat16", 0),
    ],
    ids=["grouped heads", "fp8 cache", "multimodal", "plain heads", "latent attention", "unknown"],
)
def test_kv_cache_bytes_per_token(config: dict[str, Any], dtype: str, per_token: int) -> None:
    """Two vectors per layer and KV head, or one compressed one."""
    assert kv_bytes_per_token(config, dtype) == per_token


CONTEXT = "by estimate about 54544 tokens of context fit into the GPU's memory, not 131072; lower MAX_MODEL_LEN"


@pytest.mark.parametrize(
    ("weights_gib", "arguments", "problem", "notes"),
    [
        (16, (), False, ()),
        (60, (), True, ()),
        (60, ("--tensor-parallel-size", "2"), False, ()),
        (60, ("-tp=1", "--pipeline-parallel-size=2"), False, ()),
        (60, ("--load-format", "dummy"), False, ()),
        (36, (), False, (f"{CONTEXT}, or set TENSOR_PARALLEL_SIZE=2: this machine has 2 GPUs",)),
        (36, ("--max-model-len", "8192"), False, ()),
    ],
    ids=["fits", "too large", "two GPUs", "two stages", "no weights", "context too long", "context lowered"],
)
def test_weights_that_cannot_fit_are_refused_and_the_context_that_fits_is_reported(
    weights_gib: int, arguments: tuple[str, ...], problem: bool, notes: tuple[str, ...]
) -> None:
    """On one or two 48 GiB cards; only what is certain is a problem."""
    fit = estimate(LLAMA_8B, weights_gib * GIB, [CARD, CARD], arguments)
    assert bool(fit.problems) is problem
    assert fit.notes == notes


def test_without_a_gpu_nothing_is_estimated() -> None:
    """On CPU the engine checks the memory itself."""
    assert estimate(LLAMA_8B, 900 * GIB, [], ()) == MemoryFit()
