"""Where weights come from, by the mount that they are on, and what earlier starts have left."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker_vllm.engine.preflight.start_facts import (
    Origin,
    StartFacts,
    bytes_on_disk,
    origin_of_path,
    relaunch_facts,
    warm_caches,
    weights_origin,
)
from worker_vllm.models.locate import FoundModel, Source
from worker_vllm.settings.types import EngineSettings

VOLUME = "/runpod-volume"
ROOT = "overlay / overlay rw,relatime 0 0"
NETWORK = "fs /runpod-volume fuse.mfs rw,relatime 0 0"
READ_ONLY = "fs /runpod-volume ext4 ro,relatime 0 0"
CACHED = "host /runpod-volume/huggingface-cache/hub ext4 rw 0 0"
MODEL = f"{VOLUME}/huggingface-cache/hub/models--org--m/snapshots/abc"


@pytest.mark.parametrize(
    ("path", "mounts", "origin"),
    [
        (MODEL, (ROOT, NETWORK), Origin.VOLUME),
        (MODEL, (ROOT, READ_ONLY), Origin.CACHED_MODEL),
        (MODEL, (ROOT, NETWORK, CACHED), Origin.CACHED_MODEL),
        (MODEL, (ROOT, CACHED), Origin.CACHED_MODEL),
        (MODEL, (ROOT,), Origin.LOCAL),
        ("/root/.cache/huggingface/hub/models--org--m", (ROOT, NETWORK), Origin.LOCAL),
        ("/runpod-volume-2/m", (ROOT, NETWORK), Origin.LOCAL),
        (MODEL, (), Origin.LOCAL),
        (MODEL, ("damaged",), Origin.LOCAL),
    ],
)
def test_the_origin_of_the_files_follows_from_their_mount(path: str, mounts: tuple[str, ...], origin: Origin) -> None:
    """A network volume is one writable mount; what the platform has cached is mounted below it, or read-only."""
    assert origin_of_path(path, VOLUME, mounts) is origin


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        (Source.BAKED, Origin.BAKED),
        (Source.HUB, Origin.HUB),
        (Source.STORE, Origin.STORE),
        (Source.PATH, Origin.LOCAL),
    ],
)
def test_what_is_known_needs_no_mount(source: Source, origin: Origin) -> None:
    """Baked, downloaded, or streamed from a store."""
    found = FoundModel("/somewhere/m", "org/m", source, None, (), {})
    assert weights_origin(found, VOLUME, (ROOT,)) is origin


def test_a_cache_is_warm_when_an_earlier_start_has_left_something(tmp_path: Path) -> None:
    """An empty directory, or none, is cold."""
    (tmp_path / "torch_compile_cache" / "hash").mkdir(parents=True)
    (tmp_path / "triton").mkdir()
    cold = {"inductor": False, "triton": False, "model info": False}
    assert warm_caches(tmp_path) == {"torch.compile": True, **cold}


def test_a_relaunch_finds_what_the_first_launch_has_downloaded(tmp_path: Path) -> None:
    """Its weights are no longer from the hub, and nothing is downloaded."""
    facts = StartFacts("k", Origin.HUB, str(tmp_path), {}, repositories=("org/m",), present_bytes=7)
    (tmp_path / "triton" / "x").mkdir(parents=True)
    again = relaunch_facts(facts, EngineSettings(model=str(tmp_path)), {})
    assert (again.origin, again.repositories, again.present_bytes, again.relaunch) == (Origin.LOCAL, (), 0, True)
    assert again.warm["triton"] is True


def test_the_bytes_of_repositories_are_those_of_their_blobs(tmp_path: Path) -> None:
    """In every cache; a repository that is in none counts nothing."""
    for cache, size in (("a", 3), ("b", 4)):
        blobs = tmp_path / cache / "models--org--m" / "blobs"
        blobs.mkdir(parents=True)
        (blobs / "file").write_bytes(b"x" * size)
    caches = [str(tmp_path / cache) for cache in ("a", "b", "c")]
    assert bytes_on_disk(["org/m", "org/other"], caches) == 7
