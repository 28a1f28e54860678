"""vLLM's notes on model classes: written while an image is built, brought to wherever a start looks for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.engines.broken_models import copy_of_parrot, whole
from worker_vllm.engine.child.model_info_writer import write_all
from worker_vllm.engine.preflight.model_info_cache import copy_model_info
from worker_vllm.engine.preflight.preflight import preflight
from worker_vllm.settings.types import EngineSettings

LLAMA = "vllm-model_executor-models-llama-LlamaForCausalLM.json"


def noted(cache: Path, **notes: str) -> Path:
    """A cache of vLLM with notes on these classes, each with its text."""
    folder = cache / "modelinfos"
    folder.mkdir(parents=True)
    for name, text in notes.items():
        (folder / f"vllm-models-x-{name}.json").write_text(text)
    return cache


def found(cache: Path) -> dict[str, str]:
    """Every file of a cache's notes, with its text."""
    return {path.name: path.read_text() for path in (cache / "modelinfos").glob("*")}


def test_the_models_own_notes_are_brought(tmp_path: Path) -> None:
    """No other class's, nothing half, and what is there already stays."""
    image = noted(tmp_path / "image", A="a", B="b", C="c")
    volume = noted(tmp_path / "volume", B="newer")
    copy_model_info(image, volume, ["A", "B", "D", "*", 3])
    assert found(volume) == {"vllm-models-x-A.json": "a", "vllm-models-x-B.json": "newer"}


def test_a_cache_that_cannot_be_written_is_left_alone(tmp_path: Path) -> None:
    """The start goes on without."""
    image = noted(tmp_path / "image", A="a")
    (tmp_path / "volume").write_text("a file")
    copy_model_info(image, tmp_path / "volume", ["A"])
    assert (tmp_path / "volume").read_text() == "a file"


def test_the_preflight_brings_them_to_the_users_cache(tmp_path: Path) -> None:
    """By the architectures of the model's own configuration."""
    noted(tmp_path / "home/.cache/vllm", LlamaForCausalLM="llama", Other="other")
    model = copy_of_parrot(tmp_path, whole)
    environment = {"HOME": str(tmp_path / "home"), "VLLM_CACHE_ROOT": str(tmp_path / "mine")}
    assert preflight(EngineSettings(model=str(model), served_names=("m",)), environment).refusal is None
    assert found(tmp_path / "mine") == {"vllm-models-x-LlamaForCausalLM.json": "llama"}


class Inspected:
    """A class of the registry that can, or cannot, be inspected here."""

    def __init__(self, *, fails: bool = False) -> None:
        self.registry = SimpleNamespace()
        self.fails = fails

    def inspect_model_cls(self) -> None:
        """What vLLM does to note it."""
        if self.fails:
            raise ModuleNotFoundError("torchvision")
        self.registry._run_in_subprocess(lambda: None)


def test_what_cannot_be_inspected_is_left_out() -> None:
    """A package that is missing costs its own classes only."""
    classes = {"A": Inspected(), "B": Inspected(fails=True), "C": Inspected()}
    registry = SimpleNamespace(ModelRegistry=SimpleNamespace(models=classes))
    for each in classes.values():
        each.registry = registry
    assert write_all(registry) == (2, 3)


READ = """
import sys
from worker_vllm.engine.child.vllm_cpu_alias import install_vllm_alias
install_vllm_alias()
from vllm.model_executor.models import registry
def refuse(inspect):
    raise SystemExit("inspected once more")
registry._run_in_subprocess = refuse
info = registry.ModelRegistry.models["LlamaForCausalLM"].inspect_model_cls()
assert info.architecture == "LlamaForCausalLM" and info.is_text_generation_model
"""


@pytest.mark.vllm
@pytest.mark.matrix
def test_vllm_reads_what_was_written(tmp_path: Path) -> None:
    """The real registry's notes on hundreds of classes, and none is worked out again."""
    environment = {**os.environ, "HOME": str(tmp_path)}
    written = subprocess.run(
        [sys.executable, "-m", "worker_vllm.engine.child.model_info_writer"],
        env=environment,
        capture_output=True,
        check=True,
    )
    assert written.stdout.startswith(b"model info of "), written.stderr
    notes = found(tmp_path / ".cache/vllm")
    assert LLAMA in notes
    assert len(notes) > 200
    subprocess.run([sys.executable, "-c", READ], env=environment, check=True, timeout=200)


HERE = """
import os, sys
from worker_vllm.engine.child import forkserver as prefork
from worker_vllm.engine.child.vllm_cpu_alias import install_vllm_alias
install_vllm_alias()
prefork.load()
registry = sys.modules["vllm.model_executor.models.registry"]
assert registry._run_in_subprocess(os.getpid) == os.getpid()
"""


@pytest.mark.vllm
@pytest.mark.matrix
def test_a_forked_engine_inspects_where_everything_is_imported() -> None:
    """The engine for CPU has no CUDA to protect, and its template has imported what an inspecting process would."""
    subprocess.run([sys.executable, "-c", HERE], check=True, timeout=200)
