"""The two images, built by buildah from the Dockerfiles as they are, and kept until what they are made of changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.containers import bases, podman
from tests.hub.server import Repository, serving
from tests.support.paths import PARROT, ROOT

MODEL = "org/parrot"
TOKEN = "hf_CANARYcanaryCANARYcanary"
BUILD_LIMIT_S = 1800
CONTEXT = ("pyproject.toml", "README.md", "LICENSE", "src", "models/parrot", "requirements/engine-cpu.lock")


@dataclass(frozen=True)
class Image:
    """A built image, the base that it was built on and the output of its build."""

    name: str
    base: str
    log: str

    def size(self) -> int:
        """Bytes of all layers."""
        return int(podman.inspect("image", self.name)["Size"])

    def added_bytes(self) -> int:
        """Bytes of the layers over the base."""
        return self.size() - int(podman.inspect("image", self.base)["Size"])

    def added_layers(self) -> list[Path]:
        """The directories of the layers over the base."""
        found, below = (layers(name) for name in (self.name, self.base))
        return [path for path in found if path not in below]


def layers(name: str) -> list[Path]:
    """The directories of an image's layers, uppermost first."""
    data = podman.inspect("image", name)["GraphDriver"]["Data"]
    return [Path(part) for key in ("UpperDir", "LowerDir") for part in data.get(key, "").split(":") if part]


def gpu_image() -> Image:
    """The image for GPUs on the stand-in for vLLM's, with a gated model inside, fetched with the build secret."""
    base = bases.vllm_base()
    with serving(org__parrot=Repository(parrot(), token=TOKEN)) as hub:
        secret = podman.STATE / "token"
        secret.write_text(TOKEN)
        options = [f"--secret=id=HF_TOKEN,src={secret}", "--build-arg", f"MODEL_NAME={MODEL}"]
        return _build("gpu", "Dockerfile", base, [*options, "--build-arg", f"HF_ENDPOINT={hub.address}"])


def cpu_image() -> Image:
    """The image for machines without a GPU, every package from the package index."""
    return _build("cpu", "docker/cpu.Dockerfile", bases.python_base(), [])


def parrot() -> dict[str, bytes]:
    """The embedded model as a repository of the hub."""
    return {path.name: path.read_bytes() for path in PARROT.iterdir() if path.is_file()}


def _build(kind: str, dockerfile: str, base: str, options: list[str]) -> Image:
    name = f"localhost/worker-vllm-{kind}:{_key(ROOT / dockerfile, base)}"
    log = podman.STATE / f"build-{kind}.log"
    if not podman.image_exists(name):
        # `docker` because an image in OCI's format has no health check.
        command = ["buildah", "bud", "--format=docker", f"--file={ROOT / dockerfile}", f"--tag={name}"]
        command += ["--ulimit=nofile=4096:4096", "--build-arg", f"BASE_IMAGE={base}", *options, str(ROOT)]
        done = podman.call(*command, timeout_s=BUILD_LIMIT_S)
        log.write_text(done.stdout + done.stderr)
        assert done.returncode == 0, log.read_text()[-6000:]
    return Image(name, base, log.read_text())


def _key(dockerfile: Path, base: str) -> str:
    """A hash of everything that the image is made of."""
    found = hashlib.sha256(base.encode() + dockerfile.read_bytes() + Path(__file__).read_bytes())
    for path in _files():
        found.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return found.hexdigest()[:12]


def _files() -> Iterator[Path]:
    for name in CONTEXT:
        path = ROOT / name
        yield from (
            (path,)
            if path.is_file()
            else sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        )
