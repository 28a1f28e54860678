"""Reads driver version and GPUs from the NVIDIA driver's own library (NVML).

It is called through ctypes: pynvml is not installed with the engine's CPU build, and the light start imports nothing
heavy.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

LIBRARY = "libnvidia-ml.so.1"
TEXT_BYTES = 96


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: its name, memory in bytes, compute capability."""

    name: str
    total_bytes: int
    free_bytes: int
    capability: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver: its version, the newest CUDA that it supports as (major, minor), its GPUs in driver order."""

    version: str
    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]


class Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def driver() -> Driver | None:
    """The driver of this machine; None where there is no NVIDIA driver or it cannot be initialised."""
    try:
        nvml = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    if nvml.nvmlInit_v2() != 0:
        return None
    try:
        version = ctypes.create_string_buffer(TEXT_BYTES)
        cuda, count = ctypes.c_int(), ctypes.c_uint()
        nvml.nvmlSystemGetDriverVersion(version, TEXT_BYTES)
        nvml.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(cuda))
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        gpus = tuple(gpu(nvml, index) for index in range(count.value))
        return Driver(version.value.decode(), (cuda.value // 1000, cuda.value % 1000 // 10), gpus)
    finally:
        nvml.nvmlShutdown()


def gpu(nvml: ctypes.CDLL, index: int) -> Gpu:
    """Read one GPU by the driver's index."""
    handle, memory = ctypes.c_void_p(), Memory()
    name = ctypes.create_string_buffer(TEXT_BYTES)
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
    nvml.nvmlDeviceGetName(handle, name, TEXT_BYTES)
    nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    nvml.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor))
    return Gpu(name.value.decode(), memory.total, memory.free, (major.value, minor.value))
