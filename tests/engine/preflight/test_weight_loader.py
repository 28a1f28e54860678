"""Which loader is chosen where the user left it open, and the log line about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from worker_vllm.engine.preflight.nvidia import Driver, Gpu
from worker_vllm.engine.preflight.weight_loader import INSTANT, OWN, READ_AHEAD, LoaderChoice, Machine, choose_loader
from worker_vllm.engine.preflight.weights import Weights, file_system, free_memory_bytes, weights_in

GIB = 1 << 30
CARD = Gpu("NVIDIA A40", 48 * GIB, 47 * GIB, (8, 6))
GPU = Machine(Driver("575", (12, 9), (CARD, CARD)), 64 * GIB, {"instanttensor"}.__contains__)
CPU = replace(GPU, driver=None)
WEIGHTS = Weights(16 * GIB, True, "overlay")
VOLUME = replace(WEIGHTS, file_system="fuse.mfs")
FASTER = f"{OWN}; FAST_START=1 or LOAD_FORMAT=instanttensor may be faster"


def chosen(
    *arguments: str,
    weights: Weights | None = WEIGHTS,
    machine: Machine = GPU,
    fast: bool = False,
    config: dict[str, Any] | None = None,
) -> LoaderChoice:
    return choose_loader(arguments, weights, config or {}, machine, fast)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        ("--load-format", "safetensors"),
        ("--load_format=dummy",),
        ("--model-loader-extra-config", "{}"),
        ("--safetensors-load-strategy", "lazy"),
        ("--config", "/vllm.yaml"),
    ],
)
def test_the_users_own_loader_is_kept(arguments: tuple[str, ...], fast: bool) -> None:
    """Any loader, on any file system."""
    assert chosen(*arguments, weights=VOLUME, fast=fast) == LoaderChoice()


@pytest.mark.parametrize(
    ("weights", "machine", "loading"),
    [
        (WEIGHTS, GPU, LoaderChoice(note=FASTER)),
        (WEIGHTS, CPU, LoaderChoice(note=f"{OWN} (no instanttensor: no NVIDIA GPU)")),
        (replace(WEIGHTS, file_system="nfs4"), GPU, LoaderChoice(note=FASTER)),
        (
            VOLUME,
            GPU,
            LoaderChoice(READ_AHEAD, f"{OWN}, reading ahead: the weights lie on a network file system (fuse.mfs)"),
        ),
        (
            VOLUME,
            replace(GPU, memory_bytes=17 * GIB),
            LoaderChoice(
                note=f"{OWN}, not reading ahead: the weights lie on a network file system (fuse.mfs), "
                "but are larger than the free memory"
            ),
        ),
        (None, GPU, LoaderChoice(note=OWN)),
    ],
    ids=["local disk", "no GPU", "vLLM knows it", "network", "network, little memory", "not on disk"],
)
def test_by_default_nothing_is_chosen_that_could_refuse_a_model(
    weights: Weights | None, machine: Machine, loading: LoaderChoice
) -> None:
    """vLLM's own loader, reading ahead on network file systems that vLLM does not recognise."""
    assert chosen(weights=weights, machine=machine) == loading


@pytest.mark.parametrize("kind", ["fuse", "fuse.juicefs", "ceph", "virtiofs"])
def test_a_network_file_system_is_read_ahead(kind: str) -> None:
    """vLLM 0.32 recognises NFS and Lustre itself."""
    assert chosen(weights=replace(WEIGHTS, file_system=kind)).arguments == READ_AHEAD


@pytest.mark.parametrize("kind", ["ext4", "overlay", "nfs", "lustre", "fuse.fuse-overlayfs", ""])
def test_a_local_disk_is_not_read_ahead(kind: str) -> None:
    """Neither is a file system that vLLM itself reads ahead."""
    assert chosen(weights=replace(WEIGHTS, file_system=kind)).arguments == ()


@pytest.mark.parametrize("arguments", [(), ("--load-format", "auto"), ("-tp", "2"), ("-q", "fp8")])
def test_a_fast_start_takes_the_fast_loader(arguments: tuple[str, ...]) -> None:
    """With a log line, on a network volume as well; `auto`, which forms send, leaves the choice open."""
    note = "LOAD_FORMAT=instanttensor, chosen by FAST_START=1; a start that fails is repeated without it"
    assert chosen(*arguments, fast=True) == LoaderChoice(INSTANT, note)
    assert chosen(*arguments, fast=True, weights=VOLUME) == LoaderChoice(INSTANT, note)


@pytest.mark.parametrize(
    ("arguments", "changes", "why"),
    [
        ((), {"machine": CPU}, "no NVIDIA GPU"),
        ((), {"machine": replace(GPU, installed=set().__contains__)}, "not installed"),
        ((), {"weights": replace(WEIGHTS, safetensors_alone=False)}, "the weights are not in safetensors alone"),
        (("--speculative-config", "{}"), {}, "a draft model"),
        (("--pipeline-parallel-size", "2"), {}, "pipeline or data parallelism"),
        (("-dp=2",), {}, "pipeline or data parallelism"),
        (("--cpu-offload-gb", "8"), {}, "weights offloaded to the CPU"),
        (("--quantization=torchao",), {}, "torchao's weights need their own loader"),
        (
            (),
            {"config": {"quantization_config": {"quant_method": "torchao"}}},
            "torchao's weights need their own loader",
        ),
        ((), {"weights": replace(WEIGHTS, total_bytes=40 * GIB)}, "too little GPU memory for its buffers"),
    ],
)
def test_what_instanttensor_cannot_load_keeps_vllms_own_loader(
    arguments: tuple[str, ...], changes: dict[str, Any], why: str
) -> None:
    """Even with FAST_START=1; the log line contains the reason."""
    assert chosen(*arguments, fast=True, **changes) == LoaderChoice(note=f"{OWN} (no instanttensor: {why})")


def test_more_gpus_have_more_memory() -> None:
    """The weights are distributed over all GPUs."""
    large = replace(WEIGHTS, total_bytes=60 * GIB)
    assert chosen("-tp", "2", weights=large, fast=True).arguments == INSTANT


@pytest.mark.parametrize(
    ("names", "alone"),
    [
        (("model.safetensors",), True),
        (("model-1.safetensors", "model-2.safetensors", "config.json"), True),
        (("model.safetensors", "pytorch_model.bin"), False),
        (("model.safetensors", "consolidated.safetensors"), False),
        (("pytorch_model.bin",), False),
    ],
)
def test_weights_are_described_from_their_files(tmp_path: Path, names: tuple[str, ...], alone: bool) -> None:
    """Their kind, size and file system; links as in a hub cache are followed."""
    blobs, model, mounts = tmp_path / "blobs", tmp_path / "model", tmp_path / "mounts"
    blobs.mkdir()
    model.mkdir()
    for name in names:
        (blobs / name).write_bytes(bytes(10))
        (model / name).symlink_to(blobs / name)
    mounts.write_text(f"disk / ext4 rw 0 0\nvolume {blobs} fuse.mfs rw 0 0\n")
    weights = weights_in(str(model), mounts)
    assert weights == Weights(10 * sum(not name.endswith(".json") for name in names), alone, "fuse.mfs")


def test_no_directory_no_weights(tmp_path: Path) -> None:
    """For a repository's name, or a folder without weights."""
    assert weights_in("org/model") is None
    assert weights_in(str(tmp_path)) is None


def test_the_longest_mount_point_decides_the_file_system() -> None:
    """A later mount at the same point covers the earlier one."""
    mounts = ["a / ext4 rw", "b /data nfs4 rw", "c /data/local xfs rw", "d /data fuse rw", "none"]
    places = ["/model", "/data/model", "/data/local/model", "/database/model"]
    assert [file_system(place, mounts) for place in places] == ["ext4", "fuse", "xfs", "ext4"]


@pytest.mark.parametrize(("limit", "free"), [("max", 3 << 20), (str(2 << 20), 2 << 20), (str(9 << 20), 3 << 20)])
def test_free_memory_is_the_containers(tmp_path: Path, limit: str, free: int) -> None:
    """The kernel's available memory, within the limit of the control group."""
    memory, group = tmp_path / "meminfo", tmp_path / "memory.max"
    memory.write_text("MemTotal: 9000 kB\nMemAvailable: 3072 kB\n")
    group.write_text(f"{limit}\n")
    assert free_memory_bytes(memory, (group, tmp_path / "none")) == free
