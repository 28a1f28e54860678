"""`worker-vllm bake` with the real hub client: the files that go into the image, and no others."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hub.repositories import ADAPTER, COMMIT, MODEL, TOKENIZER, lay_cached, safetensors, sharded, text
from tests.hub.server import Hub, Repository, serving
from worker_vllm.models.locate import FoundModel, Source, locate_model
from worker_vllm.settings.types import EngineSettings

NAME = "org/Model"
COMPLETE = {**sharded(), "modeling_x.py": b"", "chat_template.jinja": b"{{ messages }}"}
REPOSITORY = {**COMPLETE, "pytorch_model.bin": b"x" * 100, "original/consolidated.00.pth": b"x", "README.md": b"#"}

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def hub() -> Iterator[Hub]:
    repositories = {
        "org__Model": Repository(REPOSITORY),
        "org__adapter": Repository(ADAPTER),
        "org__tokenizer": Repository({**TOKENIZER, "model.safetensors": safetensors()}),
        "org__draft": Repository(MODEL),
    }
    with serving(**repositories) as running:
        yield running


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return tmp_path / "opt" / "worker-vllm" / "model"


COMMAND = [str(Path(sys.executable).parent / "worker-vllm"), "bake"]


def environment(hub: Hub, image: Path, **env: str) -> dict[str, str]:
    """The environment of a build step."""
    places = {"WORKER_MANIFEST": str(image / "manifest.json"), "HOME": str(image.parent / "home"), "PATH": "/usr/bin"}
    return {"HF_ENDPOINT": hub.address, "MODEL_NAME": NAME, **places, **env}


def bake(hub: Hub, image: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command as the Dockerfile runs it."""
    seen = environment(hub, image, **env)
    return subprocess.run([*COMMAND, *options], check=False, env=seen, capture_output=True, text=True, timeout=50)


def tree(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def start(image: Path, *arguments: str, model: str = NAME, **env: str) -> FoundModel:
    env = {"WORKER_MANIFEST": str(image / "manifest.json"), **env}
    return locate_model(EngineSettings(model=model, arguments=arguments), env)


def test_exactly_what_is_needed_is_baked_and_listed(hub: Hub, image: Path) -> None:
    """One weight format as plain files, and a manifest with the repository, its commit and every size."""
    done = bake(hub, image, "--check-hashes")
    assert (done.returncode, done.stderr) == (0, "")
    manifest = json.loads((image / "manifest.json").read_text())
    assert manifest == {
        "format": 1,
        "models": [
            {
                "role": "model",
                "repo_id": NAME,
                "commit": COMMIT,
                "path": "model/org--Model",
                "files": {name: len(content) for name, content in sorted(COMPLETE.items())},
                "revision": None,
            }
        ],
    }
    assert tree(image / "model" / "org--Model") == COMPLETE
    assert not [path for path in image.rglob("*") if path.is_symlink()]
    assert not (image.parent / "home").exists()


def test_the_baked_model_serves_under_its_name_without_the_hub(hub: Hub, image: Path) -> None:
    """With any mount over BASE_PATH, and any letter case of the name."""
    assert bake(hub, image).returncode == 0
    volume = image.parent / "volume"
    lay_cached(volume / "huggingface-cache" / "hub", NAME, MODEL)
    found = start(image, "--revision", "main", model="org/model", BASE_PATH=str(volume))
    assert (found.model, found.name) == (str(image / "model" / "org--Model"), NAME)
    assert (found.source, found.commit, found.offline) == (Source.BAKED, COMMIT, True)
    assert found.environment["HF_HUB_OFFLINE"] == "1"


def test_adapters_tokenizer_and_draft_are_baked_too(hub: Hub, image: Path) -> None:
    """From the variables that a start reads; at run time the engine receives each as a path in the image."""
    modules = json.dumps([{"name": "a", "path": "org/adapter"}])
    draft = json.dumps({"model": "org/draft", "num_speculative_tokens": 3})
    done = bake(hub, image, TOKENIZER_NAME="org/tokenizer", LORA_MODULES=modules, SPECULATIVE_CONFIG=draft)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.parent.name + "/" + path.name for path in image.glob("*/*")) == [
        "adapter/org--adapter",
        "draft/org--draft",
        "model/org--Model",
        "tokenizer/org--tokenizer",
    ]
    assert not (image / "tokenizer" / "org--tokenizer" / "model.safetensors").exists()
    found = start(image, "--tokenizer", "org/tokenizer", "--lora-modules", "a=org/adapter")
    assert found.offline
    assert found.arguments == (
        *("--tokenizer", str(image / "tokenizer" / "org--tokenizer")),
        *("--lora-modules", f"a={image / 'adapter' / 'org--adapter'}"),
    )


def test_without_a_model_nothing_is_baked(hub: Hub, image: Path) -> None:
    """The step of an image without a model succeeds and writes nothing."""
    done = bake(hub, image, MODEL_NAME="")
    assert (done.returncode, done.stdout) == (0, "MODEL_NAME is not set: no model goes into this image\n")
    assert not image.exists()


def test_a_gated_model_takes_the_build_secret_and_leaves_no_trace_of_it(
    hub: Hub, image: Path, tmp_path: Path
) -> None:
    """The token is in no file of the result and in no line of the build's log."""
    token = "hf_CANARYcanaryCANARY"
    hub.repositories[NAME] = Repository(REPOSITORY, token=token)
    refused = bake(hub, image)
    assert refused.returncode == 1
    assert refused.stderr.startswith("org/Model is gated: accept its terms")
    assert not (image / "manifest.json").exists()
    secret = tmp_path / "secret"
    secret.write_text(token + "\n")
    done = bake(hub, image, "--token-file", str(secret))
    assert done.returncode == 0
    assert hub.tokens == {f"Bearer {token}"}
    assert token not in done.stdout + done.stderr
    assert not [name for name, content in tree(tmp_path).items() if token.encode() in content and name != "secret"]


def test_a_bake_that_was_killed_continues(hub: Hub, image: Path) -> None:
    """The second run downloads only the missing files; until then no manifest lists a model."""
    last = "model-00003-of-00003.safetensors"
    hub.hold[last] = threading.Event()
    directory = image / "model" / "org--Model"
    with subprocess.Popen(COMMAND, env=environment(hub, image), stdout=subprocess.DEVNULL) as first:
        assert hub.halfway.wait(20)
        wait_for(lambda: set(tree(directory)) >= set(COMPLETE) - {last})
        first.kill()
    hub.hold.pop(last).set()
    assert not (image / "manifest.json").exists()
    hub.requests.clear()
    assert bake(hub, image).returncode == 0
    assert tree(directory) == COMPLETE
    assert [name for name in hub.downloads if name.endswith(".safetensors")] == [last]


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds; files appear without an event to wait for."""
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("did not come true within 20 s")


REFUSED = {
    "only the other framework's weights": (
        {"config.json": b"{}", "tf_model.h5": b"x", **TOKENIZER},
        "no weights (*.safetensors, *.bin, *.pt)",
    ),
    "a cut shard on the hub itself": (
        {**MODEL, "model.safetensors": safetensors()[:-1]},
        "bytes, its header expects",
    ),
    "code in another repository": (
        {**MODEL, "config.json": text({"auto_map": {"AutoModel": "org/code--m.Model"}})},
        "its code is in another repository (org/code), which an offline engine cannot read",
    ),
    "code that is missing": (
        {**MODEL, "config.json": text({"auto_map": {"AutoModel": "m.Model"}})},
        "m.py is missing (named by auto_map)",
    ),
    "nothing": ({}, "has no file that a model needs"),
}


@pytest.mark.parametrize(("files", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_model_that_could_not_serve_is_not_baked(
    hub: Hub, image: Path, files: dict[str, bytes], reason: str
) -> None:
    """The build fails with the reason, not the first start."""
    hub.repositories[NAME] = Repository(files)
    done = bake(hub, image)
    assert done.returncode == 1
    assert reason in done.stderr
    assert not (image / "manifest.json").exists()


def test_a_changed_file_is_found_by_its_hash(hub: Hub, image: Path) -> None:
    """--check-hashes compares with the hub's listing; the sizes are equal."""
    assert bake(hub, image).returncode == 0
    other = bytearray(COMPLETE["model-00001-of-00003.safetensors"])
    other[-1] ^= 1
    hub.repositories[NAME].wrong["model-00001-of-00003.safetensors"] = bytes(other)
    (image / "model" / "org--Model" / "model-00001-of-00003.safetensors").unlink()
    done = bake(hub, image, "--check-hashes")
    assert done.returncode == 1
    assert "model-00001-of-00003.safetensors has a SHA-256 that differs from the hub's listing" in done.stderr
