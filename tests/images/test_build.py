"""The Dockerfile's own steps, carried out in order over this machine: a small layer, and a model that serves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hub.server import Repository, serving
from worker_vllm.settings.versions import CUDA

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
PARROT = ROOT / "models" / "parrot"
NAME = "org/parrot"
CANARY = "hf_CANARYcanaryCANARYcanary"
LIMIT_BYTES = 60_000_000
MESSAGE = "Polly wants 3 crackers"
HOME = "/home/of-the-image"  # this machine's own would lend the build its caches
NOTE = ".cache/vllm/modelinfos/vllm-model_executor-models-llama-LlamaForCausalLM.json"

pytestmark = [
    pytest.mark.skipif(
        os.geteuid() != 0, reason="needs root: an overlay file system stands in for a container engine"
    ),
    pytest.mark.timeout(300),
]


@dataclass(frozen=True)
class Image:
    """A built image: the build's output, the files that it added, and the files that its start left."""

    output: str
    out: Path

    @property
    def layer(self) -> dict[str, Path]:
        """Every file that was added: path in the image → the file."""
        below = self.out / "layer"
        found = (path for path in below.rglob("*") if path.is_file() and not path.is_symlink())
        return {"/" + path.relative_to(below).as_posix(): path for path in found}


def parrot() -> dict[str, bytes]:
    """The embedded model as a repository of the hub."""
    return {path.name: path.read_bytes() for path in PARROT.iterdir() if path.is_file()}


def build(root: Path, engine: str | None, arguments: Mapping[str, str], endpoint: str, cuda: str = CUDA) -> Image:
    """Build with a model from the stand-in hub; with an engine, start the result offline and ask it."""
    out, work, secret = root / "out", root / "work", root / "secret"
    out.mkdir()
    work.mkdir()
    secret.write_text(CANARY)
    plan = {
        "dockerfile": str(ROOT / "Dockerfile"),
        "context": str(ROOT),
        "arguments": {"BASE_IMAGE": "this machine", "HF_ENDPOINT": endpoint, **arguments},
        "secrets": {"HF_TOKEN": str(secret)},
        "base": sys.prefix,
        "base_variables": {"CUDA_VERSION": cuda, "HOME": HOME},
        "work": str(work),
        "outside": {"HF_HUB_OFFLINE": "0"},
        "volumes": ["/runpod-volume"],
        "command": ["python3", str(HERE / "serve.py"), engine, MESSAGE] if engine else [],
        "variables": {
            "PYTHONPATH": str(HERE / "attempts"),
            "NETWORK_ATTEMPTS": "/mnt/attempts",
            "RESULT": "/mnt/result.json",
            "VLLM_CPU_KVCACHE_SPACE": "1",
        },
    }
    (root / "plan.json").write_text(json.dumps(plan))
    command = ["unshare", "--mount", "--pid", "--fork", sys.executable, "-m", "images.build"]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    log = root / "log"
    with log.open("w") as file:
        words = [*command, str(root / "plan.json"), str(out)]
        done = subprocess.run(words, check=False, env=environment, stdout=file, stderr=subprocess.STDOUT)
    assert done.returncode == 0, log.read_text()[-4000:]
    return Image(log.read_text(), out)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image with a gated parrot inside, started once with the echo engine."""
    with serving(org__parrot=Repository(parrot(), token=CANARY)) as hub:
        yield build(tmp_path_factory.mktemp("image"), "echo", {"MODEL_NAME": NAME}, hub.address)


def test_the_worker_is_installed_from_its_wheel(image: Image) -> None:
    """Its modules and its command, and nothing of any other package."""
    packages = {path.split("site-packages/")[1].split("/")[0] for path in image.layer if "site-packages/" in path}
    ours = {name for name in packages if name.startswith(("worker_vllm", "__editable"))}
    assert packages - ours <= {"__pycache__"}
    assert f"{sys.prefix}/bin/worker-vllm" in image.layer


def test_the_layer_is_small(image: Image) -> None:
    """Everything the steps added to the base, without the model, is far below the limit; `-s` lists it."""
    sizes = {path: file.stat().st_size for path, file in image.layer.items() if "/opt/worker-vllm/model/" not in path}
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:10]
    listing = "\n".join(f"{size:>12,} {path}" for path, size in largest)
    sys.stdout.write(f"\n{sum(sizes.values()):,} bytes in {len(sizes)} files; the largest:\n{listing}\n")
    assert sum(sizes.values()) < LIMIT_BYTES, listing


def test_the_model_is_in_the_image(image: Image) -> None:
    """Fetched with the build secret, under a directory that is no volume, with its manifest."""
    manifest = json.loads(image.layer["/opt/worker-vllm/model/manifest.json"].read_text())
    assert [(each["role"], each["repo_id"]) for each in manifest["models"]] == [("model", NAME)]
    inside = "/opt/worker-vllm/model/model/org--parrot"
    weights = image.layer[f"{inside}/model.safetensors"]
    assert weights.read_bytes() == (PARROT / "model.safetensors").read_bytes()
    assert f"{inside}/README.md" not in image.layer


def test_vllms_notes_on_model_classes_are_in_the_image(image: Image) -> None:
    """A container's first start finds them where vLLM looks."""
    assert json.loads(image.layer[f"{HOME}/{NOTE}"].read_text())["modelinfo"]["architecture"] == "LlamaForCausalLM"


def test_the_token_is_in_no_file_and_in_no_line_of_the_log(image: Image) -> None:
    """The canary was needed for the download, and is in no file."""
    assert CANARY not in image.output
    assert [path for path, file in image.layer.items() if CANARY.encode() in file.read_bytes()] == []
    assert "/run/secrets/HF_TOKEN" not in image.layer


def test_it_answers_under_the_repository_s_name_without_a_network(image: Image) -> None:
    """With an empty volume over BASE_PATH, and without a single attempt to reach the hub."""
    result = json.loads((image.out / "result.json").read_text())
    assert [model["id"] for model in result["models"]["data"]] == [NAME]
    assert result["answer"]["model"] == NAME
    assert not (image.out / "attempts").exists()


def test_a_base_with_another_cuda_is_refused(tmp_path: Path) -> None:
    """The tag would be wrong; the build's error names the argument to set."""
    with serving() as hub, pytest.raises(AssertionError) as raised:
        build(tmp_path, None, {}, hub.address, cuda="12.1.0")
    assert "the base image has CUDA 12.1.0: build with --build-arg WORKER_CUDA_VERSION=12.1.0" in str(raised.value)


@pytest.mark.vllm
@pytest.mark.matrix
@pytest.mark.timeout(600)
def test_the_real_engine_serves_the_baked_model_offline(tmp_path: Path) -> None:
    """The parrot repeats the message: the weights are in the image, and no connection was attempted."""
    with serving(org__parrot=Repository(parrot())) as hub:
        image = build(tmp_path, "vllm", {"MODEL_NAME": NAME}, hub.address)
    result = json.loads((image.out / "result.json").read_text())
    assert result["answer"]["choices"][0]["message"]["content"] == MESSAGE
    assert [model["id"] for model in result["models"]["data"]] == [NAME]
    assert not (image.out / "attempts").exists(), (image.out / "attempts").read_text()
