"""How the weights are read where `LOAD_FORMAT` leaves it open: vLLM's own reader, helped along, or a faster one.

By default nothing is chosen that could refuse a model: on a network file system that vLLM 0.32 does not know for one
(it knows NFS and Lustre), its own reader is told to read ahead. `FAST_START=1` is bolder: on an NVIDIA GPU it takes
InstantTensor, which vLLM's images carry, and a start that fails with it is repeated without. It is not the default,
because it reads past the page cache and needs room on the GPU, and because drafts and rarer formats fail in it.
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
# With any of them, or a format other than auto, the user has a plan of his own; a configuration file may hold all.
PLANS = ("--model-loader-extra-config", "--safetensors-load-strategy", "--config")
INSTANT = ("--load-format", "instanttensor")
OWN = "LOAD_FORMAT=auto: vLLM's own reader"
READ_AHEAD = ("--safetensors-load-strategy", "prefetch")
# vLLM reads ahead by itself on nfs, nfs4 and lustre. FUSE is what most other network volumes are mounted with.
NETWORK = ("fuse", "fuse.", "ceph", "9p", "virtiofs", "cifs", "smb3", "glusterfs", "beegfs", "gpfs", "wekafs")
LOCAL_FUSE = ("fuse.overlayfs", "fuse.fuse-overlayfs")
KEPT_SHARE = 0.9  # of the free memory, as vLLM itself demands before it reads ahead
GPU_SHARE = 0.75  # of the GPUs' memory: InstantTensor keeps a buffer there while the weights arrive
# All ranks read together: with tensor parallelism each needs a share of everything; these differ from rank to rank.
APART = ("--pipeline-parallel-size", "--data-parallel-size")
DRAFT = "--speculative-config"
OFFLOADED = ("--cpu-offload-gb", "--offload-backend")


@dataclass(frozen=True, slots=True)
class LoaderChoice:
    """What the worker adds to the engine's arguments, and one line for the log; both may be empty."""

    arguments: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the choice depends on besides the model."""

    driver: Driver | None
    memory_bytes: int
    installed: Callable[[str], bool]


def is_installed(package: str) -> bool:
    """Whether a top-level package can be imported; it is not."""
    return importlib.util.find_spec(package) is not None


def choose_loader(
    arguments: Sequence[str], weights: Weights | None, config: Mapping[str, Any], machine: Machine, fast_start: bool
) -> LoaderChoice:
    """The way to read these weights; nothing where the user chose one."""
    given = EngineArguments(arguments)
    if given.has(*PLANS) or (given.has(FORMAT) and given.get(FORMAT) != "auto"):
        return LoaderChoice()
    if weights is None:
        return LoaderChoice(note=OWN)
    against = unfit(given, weights, config, machine)
    if fast_start and not against:
        return LoaderChoice(
            INSTANT, "LOAD_FORMAT=instanttensor, by FAST_START=1; should the start fail, then without it"
        )
    if on_unknown_network(weights.file_system) and weights.safetensors_alone:
        where = f"the weights lie on a network file system ({weights.file_system})"
        if weights.total_bytes <= machine.memory_bytes * KEPT_SHARE:
            return LoaderChoice(READ_AHEAD, f"{OWN}, reading ahead: {where}")
        return LoaderChoice(note=f"{OWN}, not reading ahead: {where}, but are more than the free memory")
    if not against:
        return LoaderChoice(note=f"{OWN}; FAST_START=1 or LOAD_FORMAT=instanttensor may be faster")
    return LoaderChoice(note=f"{OWN} (no instanttensor: {against})")


def on_unknown_network(file_system: str) -> bool:
    """Whether reads cross a network, on a file system that vLLM does not take for a network's."""
    if file_system in LOCAL_FUSE:
        return False
    return file_system in NETWORK or file_system.startswith("fuse.")


def unfit(given: EngineArguments, weights: Weights, config: Mapping[str, Any], machine: Machine) -> str:
    """Why InstantTensor does not apply; empty when it does."""
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
        return "torchao's weights need a reader of their own"
    gpus = machine.driver.gpus[: size(given, "--tensor-parallel-size")]
    room = sum(gpu.free_bytes for gpu in gpus) * GPU_SHARE
    return "" if weights.total_bytes <= room else "too little GPU memory for its buffers"


def size(given: EngineArguments, flag: str) -> int:
    """One parallel size; 1 where it is not given."""
    return int(number(given.get(flag), 1))


def quantization(config: Mapping[str, Any]) -> str | None:
    """How the model's own configuration says it is quantized."""
    inner = config.get("quantization_config")
    return inner.get("quant_method") if isinstance(inner, dict) else None
