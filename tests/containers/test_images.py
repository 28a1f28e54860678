"""Both images, built from the Dockerfiles as they are, serve with the real engine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.containers import podman
from tests.containers.container import ask, container, content
from tests.containers.images import MODEL, TOKEN, Image
from tests.support.attached import worker_environment

pytestmark = [pytest.mark.containers, pytest.mark.timeout(2400)]

LIMIT_BYTES = 60_000_000
MESSAGE = "Polly wants 3 crackers"


def serves(image: Image, gateway: str, variables: dict[str, str]) -> tuple[str, str, float]:
    """The answer to one message, the served model's name and the seconds from the start to the answer."""
    options = ["--network=host", "--shm-size=1g"]
    started = time.monotonic()
    with container(image.name, {**worker_environment(gateway, "worker-1"), **variables}, options):
        job = ask(gateway, MESSAGE)
        return content(job), served_name(job), time.monotonic() - started


def served_name(job: dict[str, object]) -> str:
    output = job["output"]
    answer = output[0] if isinstance(output, list) else output
    assert isinstance(answer, dict)
    return str(answer["model"])


def test_the_gpu_image_serves_its_baked_model(gpu: Image, gateway: str, figure: Callable[[str], None]) -> None:
    """Dockerfile on a base with vLLM's layout: builds unmodified, and the baked model answers a job."""
    answer, name, seconds = serves(gpu, gateway, {"VLLM_CPU_KVCACHE_SPACE": "1"})
    assert (answer, name) == (MESSAGE, MODEL)
    figure(f"first answer {seconds:.0f} s after `podman run`")


def test_the_cpu_image_serves(cpu: Image, gateway: str, figure: Callable[[str], None]) -> None:
    """docker/cpu.Dockerfile, every package from the package index: builds unmodified, and a job is answered."""
    parrot = "/usr/local/lib/python{}/site-packages/worker_vllm/_parrot"
    version = podman.output("podman", "run", "--rm", "--entrypoint=python3", cpu.name, "-c", _VERSION)
    variables = {"MODEL_NAME": parrot.format(version), "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "parrot"}
    answer, name, seconds = serves(cpu, gateway, variables)
    assert (answer, name) == (MESSAGE, "parrot")
    figure(f"first answer {seconds:.0f} s after `podman run`; image of {cpu.size() / 1e9:.1f} GB")


_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def test_the_gpu_image_adds_little_to_its_base(gpu: Image, figure: Callable[[str], None]) -> None:
    """The layers over the base, without the baked model, are below 60 MB."""
    added = gpu.added_bytes() - sum(path.stat().st_size for path in model_files(gpu))
    figure(f"{added / 1e6:.1f} MB over the base")
    assert 0 < added < LIMIT_BYTES


def model_files(image: Image) -> list[Path]:
    """The baked model's files in the layers."""
    found = [path for layer in image.added_layers() for path in (layer / "opt/worker-vllm/model").rglob("*")]
    return [path for path in found if path.is_file() and not path.is_symlink()]


def test_the_build_secret_is_in_no_layer(gpu: Image, figure: Callable[[str], None]) -> None:
    """HF_TOKEN was needed for the download; it is in no file, name or variable of the image, nor in the log."""
    assert model_files(gpu), "the gated model was not baked"
    files = [path for layer in gpu.added_layers() for path in layer.rglob("*") if path.is_file()]
    regular = [path for path in files if not path.is_symlink()]
    assert [path for path in regular if TOKEN.encode() in path.read_bytes() or TOKEN in path.name] == []
    assert [path for path in files if path.name == "HF_TOKEN" and path.stat().st_size] == []
    history = podman.output("podman", "history", "--no-trunc", "--format", "json", gpu.name)
    assert TOKEN not in json.dumps(podman.inspect("image", gpu.name)) + history + gpu.log
    figure(f"{len(regular)} files searched")


@pytest.mark.parametrize("kind", ["gpu", "cpu"])
def test_the_image_says_how_it_is_run(kind: str, request: pytest.FixtureRequest) -> None:
    """Entry point with blocked signals, SIGTERM as stop signal, and a health check."""
    config = podman.inspect("image", request.getfixturevalue(kind).name)
    start = ["env", "--block-signal=TERM", "--block-signal=INT", "worker-vllm", "start"]
    assert [*config["Config"]["Entrypoint"], *(config["Config"].get("Cmd") or [])] == start
    assert config["Config"]["StopSignal"] in ("SIGTERM", "15")
    assert config["Healthcheck"]["Test"] == ["CMD", "worker-vllm", "health"]
