"""The facts of machine and image that are read before the settings are resolved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from worker_vllm.host_inspection import count_gpus, find_model, inspect_host
from worker_vllm.settings.host_facts import ModelSource

PARROT = Path(__file__).parents[2] / "models" / "parrot"


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """Device files of a machine with two GPUs."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [(None, 2), ("0", 1), ("0,1", 2), ("", 0), ("-1", 0), ("GPU-a,GPU-b,GPU-c", 2), ("all", 2)],
)
def test_gpus_are_the_devices_that_are_visible(devices: Path, visible: str | None, gpus: int) -> None:
    """CUDA_VISIBLE_DEVICES narrows them, as it does for the engine."""
    assert count_gpus({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}, devices) == gpus


def test_the_models_config_is_found_where_the_worker_would_take_it_from(tmp_path: Path) -> None:
    """A path, or a snapshot in a hub cache."""
    snapshot = tmp_path / "models--org--name" / "snapshots" / "abcdef0"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(PARROT)
    config = json.loads((PARROT / "config.json").read_text())
    for name in (str(PARROT), "org/name"):
        assert find_model(ModelSource(name), {"HF_HUB_CACHE": str(tmp_path)}) == (config, True)
    assert find_model(ModelSource("org/absent"), {"HF_HUB_CACHE": str(tmp_path)}) == (None, False)


@pytest.mark.parametrize(
    ("text", "document", "problem"),
    [
        ("seed: 1\nhf-overrides:\n  a: [1]\n", {"seed": 1, "hf-overrides": {"a": [1]}}, None),
        ("", None, None),
        ("- a\n", None, "a YAML mapping of flag: value"),
        ("a: [", None, "YAML ("),
    ],
)
def test_the_config_file_is_yaml(
    tmp_path: Path, text: str, document: dict[str, object] | None, problem: str | None
) -> None:
    """A problem with it is returned, not raised."""
    path = tmp_path / "vllm.yaml"
    path.write_text(text)
    facts = inspect_host({"VLLM_CONFIG_FILE": str(path), "ENGINE_URL": "http://h"})
    assert facts.config_file == document
    assert (facts.config_file_problem or "")[: len(problem or "")] == (problem or "")
    assert (facts.config_file_problem is None) == (problem is None)


def test_a_config_file_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    """A file that is named must exist."""
    facts = inspect_host({"VLLM_CONFIG_FILE": str(tmp_path / "no.yaml"), "ENGINE_URL": "http://h"})
    assert (facts.config_file_problem or "").startswith("a readable file (")


def test_the_manifest_is_read_from_the_path_in_the_environment(tmp_path: Path) -> None:
    """Without the variable, from the image's path."""
    path = tmp_path / "manifest.json"
    path.write_text('{"format": 1, "models": []}')
    assert inspect_host({"WORKER_MANIFEST": str(path), "ENGINE_URL": "http://h"}).manifest == {
        "format": 1,
        "models": [],
    }
    assert inspect_host({"ENGINE_URL": "http://h"}).manifest is None
