"""Chooses how the engine reads the weights where `LOAD_FORMAT` leaves it open.

The default is vLLM's own loader, which accepts every model. On a network file system that vLLM 0.32 does not know (it
knows NFS and Lustre) the worker adds the flag for reading ahead. `FAST_START=1` selects InstantTensor, which vLLM's
images contain, on an NVIDIA GPU; a start that fails with it is repeated without. InstantTensor is not the default,
because it bypasses the page cache, needs free GPU memory, and fails for draft models and rarer formats.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker_vllm.engine.preflight.memory_fit import number
from worker_vllm.engine.preflight.nvidia import Driver
from worker_vllm.engine.preflight.weights import Weights
from worker_vllm.settings.arguments import EngineArguments

FORMAT = "--load-format"
# With any of these, or a format other than auto, the user has chosen a loader; --config may set all of them.
PLANS = ("--model-loader-extra-config", "--safetensors-load-strategy", "--config")
INSTANT = ("--load-format", "instanttensor")
OWN = "LOAD_FORMAT=auto: vLLM's own loader"
READ_AHEAD = ("--safetensors-load-strategy", "prefetch")
# vLLM reads ahead by default on nfs, nfs4 and lustre. Most other network volumes are FUSE mounts.
NETWORK = ("fuse", "fuse.", "ceph", "9p", "virtiofs", "cifs", "smb3", "glusterfs", "beegfs", "gpfs", "wekafs")
LOCAL_FUSE = ("fuse.overlayfs", "fuse.fuse-overlayfs")
KEPT_SHARE = 0.9  # of the free memory, vLLM's own condition for reading ahead
GPU_SHARE = 0.75  # of the GPUs' memory: InstantTensor keeps a buffer there while the weights arrive
# InstantTensor's ranks read together, which needs the same files on every rank: not so with these kinds.
APART = ("--pipeline-parallel-size", "--data-parallel-size")
DRAFT = "--speculative-config"
OFFLOADED = ("--cpu-offload-gb", "--offload-backend")


@dataclass(frozen=True, slots=True)
class LoaderChoice:
    """The arguments that the worker adds, and one log line; both may be empty."""

    arguments: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts of this machine that the choice depends on."""

    driver: Driver | None
    memory_bytes: int
    installed: Callable[[str], bool]


def is_installed(package: str) -> bool:
    """Whether a top-level package is installed; does not import it."""
    return importlib.util.find_spec(package) is not None


def choose_loader(
    arguments: Sequence[str], weights: Weights | None, config: Mapping[str, Any], machine: Machine, fast_start: bool
) -> LoaderChoice:
    """Choose the loader for these weights; adds nothing where the user chose one."""
    given = EngineArguments(arguments)
    if given.has(*PLANS) or (given.has(FORMAT) and given.get(FORMAT) != "auto"):
        return LoaderChoice()
    if weights is None:
        return LoaderChoice(note=OWN)
    against = unfit(given, weights, config, machine)
    if fast_start and not against:
        return LoaderChoice(
            INSTANT, "LOAD_FORMAT=instanttensor, chosen by FAST_START=1; a start that fails is repeated without it"
        )
    if on_unknown_network(weights.file_system) and weights.safetensors_alone:
        where = f"the weights lie on a network file system ({weights.file_system})"
        if weights.total_bytes <= machine.memory_bytes * KEPT_SHARE:
            return LoaderChoice(READ_AHEAD, f"{OWN}, reading ahead: {where}")
        return LoaderChoice(note=f"{OWN}, not reading ahead: {where}, but are larger than the free memory")
    if not against:
        return LoaderChoice(note=f"{OWN}; FAST_START=1 or LOAD_FORMAT=instanttensor may be faster")
    return LoaderChoice(note=f"{OWN} (no instanttensor: {against})")


def on_unknown_network(file_system: str) -> bool:
    """Whether this is a network file system that vLLM does not recognise as one."""
    if file_system in LOCAL_FUSE:
        return False
    return file_system in NETWORK or file_system.startswith("fuse.")


def unfit(given: EngineArguments, weights: Weights, config: Mapping[str, Any], machine: Machine) -> str:
    """Why InstantTensor cannot be used; empty when it can."""
    if machine.driver is None or not machine.driver.gpus:
        return "no NVIDIA GPU"
    if not machine.installed("instanttensor"):
        return "not installed"
    if not weights.safetensors_alone:
        return "the weights are not in safetensors alone"
    if given.has(DRAFT):
        return "a draft model"
    if given.has(*OFFLOADED):
        return "weights offloaded to the CPU"
    if any(size(given, flag) > 1 for flag in APART):
        return "pipeline or data parallelism"
    if "torchao" in (quantization(config), given.get("--quantization")):
        return "torchao's weights need their own loader"
    gpus = machine.driver.gpus[: size(given, "--tensor-parallel-size")]
    room = sum(gpu.free_bytes for gpu in gpus) * GPU_SHARE
    return "" if weights.total_bytes <= room else "too little GPU memory for its buffers"


def size(given: EngineArguments, flag: str) -> int:
    """One parallel size; 1 where no flag sets it."""
    return int(number(given.get(flag), 1))


def quantization(config: Mapping[str, Any]) -> str | None:
    """The quantization method in the model's configuration; None for none."""
    inner = config.get("quantization_config")
    return inner.get("quant_method") if isinstance(inner, dict) else None
