"""Rules of the Dockerfiles: size of the image, secrets, versions, licence."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.images.dockerfile import Dockerfile, assignments
from worker_vllm import __version__
from worker_vllm.models.directories import MANIFEST, VOLUME
from worker_vllm.settings import versions

ROOT = Path(__file__).resolve().parents[2]
FILES = {"GPU": ROOT / "Dockerfile", "CPU": ROOT / "docker" / "cpu.Dockerfile"}
GPU = Dockerfile.read(FILES["GPU"])
DOCUMENTED = ("MODEL_NAME", "MODEL_REVISION", "TOKENIZER_NAME", "TOKENIZER_REVISION", "QUANTIZATION", "BASE_PATH")

BAKE = "PYTHONDONTWRITEBYTECODE=1 worker-vllm bake"

both = pytest.mark.parametrize("path", FILES.values(), ids=FILES)


def arguments(file: Dockerfile) -> dict[str, str]:
    found = dict(file.arguments)
    for step in file.stages[-1].steps:
        if step.instruction == "ARG":
            found |= assignments(step.text)
    return found


def environment(file: Dockerfile) -> dict[str, str]:
    return {
        name: value
        for step in file.stages[-1].steps
        if step.instruction == "ENV"
        for name, value in assignments(step.text).items()
    }


@both
def test_the_linter_has_nothing_to_say(path: Path) -> None:
    """hadolint with every rule; each ignored rule has its reason in the file."""
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if hadolint is None:
        pytest.skip("hadolint is not installed: make setup installs it")
    done = subprocess.run([hadolint, str(path)], check=False, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "")


@both
def test_every_base_is_pinned(path: Path) -> None:
    """A version in every FROM, never `latest`."""
    file = Dockerfile.read(path)
    assert {stage.base for stage in file.stages} == {"${BASE_IMAGE}"}
    assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]+", file.arguments["BASE_IMAGE"])


@both
def test_no_compiler_and_no_source_reach_the_image(path: Path) -> None:
    """The last stage installs one wheel and copies nothing."""
    steps = Dockerfile.read(path).stages[-1].steps
    assert not [step for step in steps if step.instruction in ("COPY", "ADD")]
    text = " ".join(step.text for step in steps if step.instruction == "RUN")
    assert not re.search(r"\b(gcc|g\+\+|build-essential|cmake|git|curl)\b", text)


@both
def test_the_entry_point_gets_the_signals(path: Path) -> None:
    """No shell between the platform and the worker, and a health check that needs none either."""
    steps = {step.instruction: step for step in Dockerfile.read(path).stages[-1].steps}
    command = steps["ENTRYPOINT"].words + (steps["CMD"].words if "CMD" in steps else [])
    assert command == ["env", "--block-signal=TERM", "--block-signal=INT", "worker-vllm", "start"]
    assert steps["STOPSIGNAL"].text == "SIGTERM"
    assert steps["HEALTHCHECK"].text == 'CMD ["worker-vllm", "health"]'


@both
def test_the_image_has_labels(path: Path) -> None:
    """OCI labels: title, version, source."""
    (label,) = [step for step in Dockerfile.read(path).stages[-1].steps if step.instruction == "LABEL"]
    names = set(assignments(label.text))
    assert {f"org.opencontainers.image.{name}" for name in ("title", "version", "source")} <= names


def test_the_documented_build_arguments_are_there_and_reach_the_worker() -> None:
    """Each is empty by default, but BASE_PATH, and each becomes the variable of the same name."""
    assert {name: arguments(GPU)[name] for name in DOCUMENTED} == dict.fromkeys(DOCUMENTED, "") | {
        "BASE_PATH": VOLUME
    }
    assert {name: environment(GPU)[name] for name in DOCUMENTED} == {name: f"${{{name}}}" for name in DOCUMENTED}


def test_the_token_is_a_secret_of_one_step() -> None:
    """Neither an argument nor a variable, and mounted for the bake alone."""
    assert "HF_TOKEN" not in {*arguments(GPU), *environment(GPU)}
    with_secret = [step for step in GPU.stages[-1].steps for mount in step.mounts if mount.get("id") == "HF_TOKEN"]
    assert [(step.text, step.mounts) for step in with_secret] == [
        (BAKE, [{"type": "secret", "id": "HF_TOKEN", "required": "false"}])
    ]


@both
def test_the_bake_can_ask_a_mirror(path: Path) -> None:
    """HF_ENDPOINT is an argument without a default (an empty one is no address), and no variable of the image."""
    file = Dockerfile.read(path)
    steps = [(step.instruction, step.text) for step in file.stages[-1].steps]
    assert ("ARG", "HF_ENDPOINT") in steps
    assert steps.index(("ARG", "HF_ENDPOINT")) < steps.index(("RUN", BAKE))
    assert "HF_ENDPOINT" not in environment(file)


@both
def test_no_step_leaves_bytecode_of_the_base_behind(path: Path) -> None:
    """Build steps that run Python import much of the base: its bytecode would add 124 MB to the layer."""
    runs = [step.text for step in Dockerfile.read(path).stages[-1].steps if step.instruction == "RUN"]
    ours = [text for text in runs if re.search(r"python3 -m worker_vllm|worker-vllm ", text)]
    assert len(ours) == 2
    assert all(text.startswith("PYTHONDONTWRITEBYTECODE=1 ") for text in ours)


def test_the_model_lies_where_no_volume_is_mounted() -> None:
    """The manifest is outside BASE_PATH's default and where the worker looks by itself."""
    assert environment(GPU)["WORKER_MANIFEST"] == MANIFEST
    assert not MANIFEST.startswith((VOLUME, "/workspace"))


def test_the_build_context_is_slim() -> None:
    """Everything is excluded, then the files that the Dockerfiles read are included."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    read = {"requirements/engine-cpu.lock"}
    for path in FILES.values():
        for step in Dockerfile.read(path).stages[0].steps:
            read |= set(step.words[:-1]) if step.instruction == "COPY" else set()
    assert allowed == read


@both
def test_the_wheel_in_the_image_has_its_licence(path: Path, tmp_path: Path) -> None:
    """Built as the image builds it: from the copied files alone."""
    for step in Dockerfile.read(path).stages[0].steps:
        for source in step.words[:-1] if step.instruction == "COPY" else []:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, tmp_path / source)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "dist"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=30)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    licences = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/licenses/LICENSE")]
    assert len(licences) == 1


def test_every_version_is_the_release_s_own() -> None:
    """Recipes, bake file and package name one worker, one vLLM and one CUDA."""
    assert GPU.arguments["BASE_IMAGE"] == versions.BASE_IMAGE
    assert arguments(GPU)["WORKER_CUDA_VERSION"] == versions.CUDA
    for path in FILES.values():
        assert arguments(Dockerfile.read(path))["WORKER_VERSION"] == __version__
    bake = dict(re.findall(r'variable "(\w+)" \{\s*default = "([^"]*)"', (ROOT / "docker-bake.hcl").read_text()))
    assert bake["WORKER_VERSION"] == __version__
    assert bake["VLLM_VERSION"] == versions.VLLM
    assert bake["CUDA_VERSION"] == versions.CUDA
    assert bake["REPOSITORY"] == versions.REPOSITORY


@pytest.mark.parametrize("channel", ["stable", "dev"])
def test_the_tag_is_the_original_s_with_the_real_cuda(channel: str) -> None:
    """v<version>{stable,dev}-cuda<version>, the same from the bake file as from the forms."""
    tag = f"{versions.REPOSITORY}:v{__version__}{channel}-cuda{versions.CUDA}"
    assert versions.image_name(__version__, channel) == tag
    text = (ROOT / "docker-bake.hcl").read_text()
    assert "${REPOSITORY}:v${WORKER_VERSION}${CHANNEL}-cuda${CUDA_VERSION}" in text
