"""Which directories keep compiled kernels between starts, and what a fast start skips."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker_vllm.engine.preflight.compile_cache import CacheChoice, cache_key, choose_caches
from worker_vllm.engine.preflight.nvidia import Driver, Gpu
from worker_vllm.engine.process.command import engine_argv
from worker_vllm.settings.types import EngineSettings

CARDS = Driver("575", (12, 9), (Gpu("NVIDIA A40", 1, 1, (8, 6)), Gpu("NVIDIA A40", 1, 1, (8, 6))))


def roomy(volume: Path) -> int:
    """A mounted volume with a TiB free."""
    return 1 << 40


def test_the_key_differs_by_model_version_and_gpus() -> None:
    """It is one relative path, whatever characters the names contain."""
    assert cache_key("org/Model-7B", "0.32.0", CARDS) == "org_Model-7B/0.32.0/2xNVIDIA_A40-sm86"
    assert cache_key("../m", "0.32.0", None) == ".._m/0.32.0/cpu"


def test_a_volume_keeps_caches_for_the_next_start(tmp_path: Path) -> None:
    """All caches, with vLLM's startup plan on a GPU; the note distinguishes a cold and a warm cache."""
    root = tmp_path / "worker-vllm-cache" / "k"
    environment = {"BASE_PATH": str(tmp_path), "TRITON_CACHE_DIR": "/mine"}
    chosen = choose_caches("k", environment, True, roomy)
    assert chosen == CacheChoice(
        {
            "VLLM_CACHE_ROOT": str(root),
            "TORCHINDUCTOR_CACHE_DIR": str(root / "inductor"),
            "FLASHINFER_WORKSPACE_BASE": str(root),
            "VLLM_ENABLE_STARTUP_PLAN": "1",
        },
        f"caches: {root} (cold), kept on the volume for the next start",
    )
    (root / "torch_compile_cache").mkdir()
    again = choose_caches("k", environment, False, roomy)
    assert "(warm)" in again.note
    assert "VLLM_ENABLE_STARTUP_PLAN" not in again.environment


@pytest.mark.parametrize(
    ("free_bytes", "reason"),
    [(None, "no volume is mounted at"), (1 << 30, "has less than 4 GiB free"), (1 << 40, "cannot be written to")],
    ids=["not mounted", "full", "unwritable"],
)
def test_without_a_usable_volume_caches_stay_in_the_container(
    tmp_path: Path, free_bytes: int | None, reason: str
) -> None:
    """vLLM's default cache, never the temporary directory, which is removed; the note contains the reason."""
    (tmp_path / "worker-vllm-cache").write_text("a file where the folder should be")
    environment = {"BASE_PATH": str(tmp_path), "HOME": "/home/w"}
    chosen = choose_caches("k", environment, True, lambda volume: free_bytes)
    assert chosen.environment == {"TORCHINDUCTOR_CACHE_DIR": "/home/w/.cache/vllm/inductor"}
    assert reason in chosen.note


def test_the_users_own_cache_root_is_kept() -> None:
    """No variable is added."""
    assert choose_caches("k", {"VLLM_CACHE_ROOT": "/mine"}, on_gpu=True).environment == {}


@pytest.mark.parametrize(
    ("fast", "arguments", "eager"),
    [
        (False, (), False),
        (True, (), True),
        (True, ("--no-enforce-eager",), False),
        (True, ("--compilation-config", "{}"), False),
        (True, ("-O2",), False),
    ],
)
def test_a_fast_start_compiles_nothing_unless_the_user_chose_how(
    fast: bool, arguments: tuple[str, ...], eager: bool
) -> None:
    """FAST_START=1 trades peak speed for start time; the user's compilation flags override it."""
    argv = engine_argv(EngineSettings(arguments=arguments, fast_start=fast), "/s")
    assert ("--enforce-eager" in argv) is eager
