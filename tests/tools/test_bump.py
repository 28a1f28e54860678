"""The bump command changes every pin, reports the differences, and leaves a consistent tree."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from worker_vllm import __version__
from worker_vllm.settings import versions

BUMP = ROOT / "tools" / "bump.py"
COPIED = (
    "src",
    "docs",
    "deploy",
    ".github",
    ".runpod",
    "docker",
    "benchmarks",
    "requirements",
    "scripts",
    "tools",
    "tests/containers",
    "tests/deploy",
    "tests/versions",
    "tests/images",
    "tests/support",
    "tests/tools",
)
FILES = ("Dockerfile", "docker-bake.hcl", ".dockerignore", "worker-config.json", ".env.example", "CHANGELOG.md")

specification = importlib.util.spec_from_file_location("bump", BUMP)
assert specification is not None
assert specification.loader is not None
bump = importlib.util.module_from_spec(specification)
specification.loader.exec_module(bump)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of everything that a bump reads or writes."""
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run(tree: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    words = [sys.executable, *command]
    return subprocess.run(words, check=False, cwd=tree, env=environment, capture_output=True, text=True)


def assert_consistent(tree: Path) -> None:
    """Generated files are fresh and every pin names the release."""
    rendered = run(tree, "-m", "tools.render", "--check")
    assert rendered.returncode == 0, rendered.stdout
    checked = run(tree, "-m", "pytest", "-q", "tests/images/test_dockerfile.py", "-k", "version or tag")
    assert checked.returncode == 0, checked.stdout


def test_a_bump_of_vllm_reports_the_differences_and_leaves_a_consistent_tree(tree: Path) -> None:
    """Towards 0.33.0, whose flag data is in the tree."""
    done = run(tree, str(BUMP), "vllm", "0.33.0", "--cuda", "13.0.4", "--root", str(tree), "--no-tests")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"vLLM {versions.VLLM} -> 0.33.0, CUDA 13.0.4: ")
    for line in ("  + --watchdog-config", "  ~ --spec-method: choices -medusa -mlp_speculator +step5_mtp"):
        assert line in lines
    assert "- variables: VLLM_ROCM_MONO_DECODE" in done.stdout
    assert "ARG BASE_IMAGE=vllm/vllm-openai:v0.33.0\n" in (tree / "Dockerfile").read_text()
    assert f"- vLLM {versions.VLLM} -> 0.33.0 (CUDA 13.0.4).\n" in (tree / "CHANGELOG.md").read_text()
    assert_consistent(tree)


def test_a_rehearsal_from_0_31_to_0_32_restores_every_file(tree: Path) -> None:
    """Back to 0.31.0 and forward again: every pin moves there and back, and nothing else has changed."""
    before = contents(tree)
    assert versions.VLLM == "0.32.0"
    for version, line in (("0.31.0", "  - --grpc-port"), ("0.32.0", "  + --grpc-port")):
        words = ["vllm", version, "--cuda", versions.CUDA, "--root", str(tree), "--no-tests"]
        done = run(tree, str(BUMP), *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert line in done.stdout.splitlines()
        assert f"ARG BASE_IMAGE=vllm/vllm-openai:v{version}\n" in (tree / "Dockerfile").read_text()
        assert f"vllm=={version}" in (tree / "deploy/systemd/worker-vllm.service").read_text()
        assert_consistent(tree)
    after = contents(tree)
    assert {name for name in before if before[name] != after.get(name)} == {"CHANGELOG.md"}
    assert set(after) == set(before)


def contents(tree: Path) -> dict[str, bytes]:
    """Every file of a tree but bytecode and what pytest leaves."""
    files = (path for path in tree.rglob("*") if path.is_file() and "cache" not in str(path))
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in files}


def test_a_bump_of_the_worker_moves_its_version_and_its_changelog(tree: Path) -> None:
    """The unreleased part becomes the version's, the image's tag follows."""
    done = run(tree, str(BUMP), "worker", "3.9.0", "--root", str(tree), "--no-tests")
    assert (done.returncode, done.stderr) == (0, "")
    changelog = (tree / "CHANGELOG.md").read_text()
    assert "## 3.9.0\n" in changelog
    assert "## Unreleased\n" not in changelog
    assert "v3.9.0stable-cuda" in (tree / "worker-config.json").read_text()
    assert "v3.9.0stable-cuda" in (tree / "deploy/kubernetes/worker.yaml").read_text()
    assert __version__ not in (tree / "docker-bake.hcl").read_text()
    assert_consistent(tree)


def test_a_version_without_flag_data_changes_nothing(tree: Path) -> None:
    """The error asks for an interpreter that has it."""
    before = {name: (tree / name).read_bytes() for name in FILES}
    done = run(tree, str(BUMP), "vllm", "9.9.9", "--root", str(tree), "--no-tests")
    assert done.returncode == 2
    assert done.stderr == "bump: no flag data for vLLM 9.9.9: name an interpreter that has it with --engine\n"
    assert {name: (tree / name).read_bytes() for name in FILES} == before


def test_every_kind_of_difference_is_reported() -> None:
    """Removed, added, changed; a documented variable without its flag needs a decision."""
    old = {
        "flags": {
            "GONE": {"flag": "--gone", "kind": "int"},
            "MAX_LORAS": {"flag": "--max-loras", "kind": "int"},
            "KEPT": {"flag": "--kept", "kind": "int", "default": 1, "choices": ["a", "b"]},
            "OPENED": {"flag": "--opened", "kind": "text", "choices": ["a"]},
        },
        "variables": ["VLLM_OLD"],
        "architectures": ["Same"],
    }
    new = {
        "flags": {
            "CAME": {"flag": "--came", "kind": "int"},
            "KEPT": {"flag": "--kept", "kind": "text", "default": 2, "choices": ["b", "c"]},
            "OPENED": {"flag": "--opened", "kind": "text"},
        },
        "variables": [],
        "architectures": ["Same", "New"],
    }
    assert bump.differences(old, new, ["MAX_LORAS"]) == [
        "- --gone",
        "- --max-loras  <- a documented variable: decide in settings/legacy",
        "+ --came",
        "~ --kept: kind 'int' -> 'text'",
        "~ --kept: default 1 -> 2",
        "~ --kept: choices -a +c",
        "~ --opened: takes any value now",
        "- variables: VLLM_OLD",
        "+ architectures: New",
    ]
