"""The workflows pin their actions and have the least permissions."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT
from worker_vllm.settings import versions

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
WRITES = {
    ("release.yml", "image"): {"contents": "read", "id-token": "write"},
    ("release.yml", "announce"): {"contents": "write", "id-token": "write"},
}

each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def read(path: Path) -> dict[str, Any]:
    workflow: dict[str, Any] = yaml.safe_load(path.read_text())
    return workflow


@each
def test_every_action_is_pinned_by_its_commit_and_names_its_version(path: Path) -> None:
    """A tag can be moved, a commit cannot."""
    for line in path.read_text().splitlines():
        if "uses:" in line:
            assert re.search(r"uses: \S+ # v\d+\.\d+\.\d+$", line), line
    for job in read(path)["jobs"].values():
        for step in job["steps"]:
            assert "uses" not in step or PINNED.fullmatch(step["uses"]), step["uses"]


@each
def test_nothing_is_permitted_that_is_not_needed(path: Path) -> None:
    """Nothing by default; each job reads the sources, one writes the release, two sign as the workflow."""
    workflow = read(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job["permissions"] == WRITES.get((path.name, name), {"contents": "read"})


@each
def test_every_job_ends_and_runs_on_a_named_system(path: Path) -> None:
    """A time limit on each, no `latest` anywhere."""
    for job in read(path)["jobs"].values():
        assert job["timeout-minutes"] <= 90
        assert re.fullmatch(r"ubuntu-\d+\.\d+", job["runs-on"])


@each
def test_no_secret_and_no_foreign_text_is_pasted_into_a_script(path: Path) -> None:
    """Both come as variables: `${{ }}` in a script would be code."""
    for job in read(path)["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), step["run"]


@each
def test_credentials_are_not_left_in_the_checkout(path: Path) -> None:
    """No later step can push with them."""
    for job in read(path)["jobs"].values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_the_tested_package_is_the_wheel() -> None:
    """CI installs the built wheel in place of the sources before it runs the tests."""
    steps = [step.get("run", "") for step in read(ROOT / ".github/workflows/ci.yml")["jobs"]["test"]["steps"]]
    install = next(
        number for number, step in enumerate(steps) if "pip install --no-index --no-deps dist/*.whl" in step
    )
    test = next(number for number, step in enumerate(steps) if "-m pytest" in step)
    assert install < test


def test_the_release_publishes_every_combination() -> None:
    """The matrix of the release names each target of the bake file that is published, and the dry run its tags."""
    job = read(ROOT / ".github/workflows/release.yml")["jobs"]["image"]
    names = [
        f"gpu-cuda{cuda}{vllm}".replace(".", "-")
        for vllm in ("", *(f"-vllm{version}" for version in versions.OTHER_VLLM))
        for cuda in (versions.CUDA, *versions.OTHER_CUDA)
    ]
    assert job["strategy"]["matrix"]["target"] == [*names, "cpu"]
    bake = (ROOT / "docker-bake.hcl").read_text()
    for cuda, suffix in versions.OTHER_CUDA.items():
        assert f'{{ version = "{cuda}", base = "{suffix}" }}' in bake
    for vllm in versions.OTHER_VLLM:
        assert f'{{ version = "{vllm}", suffix = "-vllm{vllm}" }}' in bake


def test_the_scripts_are_valid_shell() -> None:
    """Every script of the images and of the workflows parses."""
    scripts = [path.read_text() for path in sorted((ROOT / "docker").glob("*.sh"))]
    scripts += [
        step["run"] for path in FILES for job in read(path)["jobs"].values() for step in job["steps"] if "run" in step
    ]
    for script in scripts:
        done = subprocess.run(["bash", "-n"], check=False, input=script, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
