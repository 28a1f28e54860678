"""Faults of the machine, and too little memory, with what to change.

Messages are those of vLLM 0.32.0, PyTorch and CUDA. Patterns see the log without vLLM's prefixes; the first pattern
that matches makes the diagnosis.
"""

from __future__ import annotations

from worker_vllm.engine.diagnosis.types import FaultPattern, Remedy, Scope, When, host, settings

OOM = r"(?:torch\.OutOfMemoryError|torch\.cuda\.OutOfMemoryError|CUDA out of memory|CUDA error: out of memory)"

PATTERNS: tuple[FaultPattern, ...] = (
    # --- the machine
    host(
        "disk full",
        r"No space left on device|Disk quota exceeded|Not enough free disk space",
        "the disk is full",
        "give the container a larger disk, or put the model on a network volume",
    ),
    host(
        "driver too old",
        r"CUDA driver version is insufficient|The NVIDIA driver on your system is too old"
        r"|forward compatibility was attempted on non supported HW|provided PTX was compiled with an unsupported",
        "this machine's NVIDIA driver is too old for the engine's CUDA",
        "restrict the endpoint to machines with a newer CUDA version",
    ),
    host(
        "GPU missing",
        r"no CUDA-capable device|No CUDA GPUs are available|NVML: Driver/library version mismatch"
        r"|Failed to infer device type",
        "the engine finds no usable GPU on this machine",
        "run it on a GPU machine; on a laptop use the CPU build (make setup)",
    ),
    host(
        "GPU broken",
        r"uncorrectable (?:NVLink|ECC) error|CUDA error: (?:an illegal memory access|unspecified launch failure"
        r"|misaligned address|device-side assert)|Xid \d+|GPU has fallen off the bus|CUDA error: unknown error",
        "the GPU reported an error that no setting causes",
        "use another machine; if the error follows the model, report it to vLLM",
    ),
    host(
        "NCCL failed",
        r"NCCL error|ncclSystemError|ncclUnhandledCudaError|ncclInternalError"
        r"|Watchdog caught collective operation timeout",
        "the GPUs of this machine cannot communicate with each other (NCCL)",
        "try NCCL_P2P_DISABLE=1 and DISABLE_CUSTOM_ALL_REDUCE=1, and check that /dev/shm has a few GiB",
    ),
    # --- memory
    settings(
        "KV cache too small",
        r"model's max seq len \((?P<length>\d+)\), \((?P<needed>[\d.]+) GiB KV cache is needed, which is larger "
        r"than the available KV cache memory \((?P<free>[\d.]+) GiB\)\. Based on the available memory, the "
        r"estimated maximum model length is (?P<fits>\d+)",
        "one request of {length} tokens needs {needed} GiB of KV cache and only {free} GiB are free",
        "set MAX_MODEL_LEN={fits} or less, or raise GPU_MEMORY_UTILIZATION, or use a larger GPU",
        Remedy.SHORTER_CONTEXT,
    ),
    settings(
        "KV cache too small",
        r"model's max seq len \((?P<length>\d+)\), \((?P<needed>[\d.]+) GiB KV cache is needed, which is larger "
        r"than the available KV cache memory \((?P<free>[\d.]+) GiB\)",
        "one request of {length} tokens needs {needed} GiB of KV cache and only {free} GiB are free",
        "lower MAX_MODEL_LEN, or raise GPU_MEMORY_UTILIZATION, or use a larger GPU",
        Remedy.SHORTER_CONTEXT,
    ),
    settings(
        "KV cache too small",
        r"No available memory for the cache blocks",
        "the weights leave no memory for the KV cache",
        "raise GPU_MEMORY_UTILIZATION, use a quantized model or a larger GPU, or more GPUs with TENSOR_PARALLEL_SIZE",
        Remedy.LESS_MEMORY,
    ),
    settings(
        "memory short",
        r"Available memory on node \d+ \((?P<free>[\d.]+)/[\d.]+ GiB\) on (?:startup is less than desired CPU memory "
        r"utilization|kv cache allocation is less than requested memory)",
        "the CPU engine is configured to use more memory than the {free} GiB that are free",
        "set VLLM_CPU_KVCACHE_SPACE to fewer GiB",
    ),
    settings(
        "GPU in use",
        r"Free memory on device \S+ \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is less than desired GPU",
        "another process uses this GPU: {free} of {total} GiB are free",
        "lower GPU_MEMORY_UTILIZATION, or stop the other process",
    ),
    settings(
        "out of memory at load",
        rf"(?s)(?:Starting to load model|load_model)(?!.*(?:Loading weights took|Model loading took)).*{OOM}",
        "the model's weights do not fit into the GPU's memory",
        "use a larger GPU, more GPUs with TENSOR_PARALLEL_SIZE, or a quantized model",
    ),
    settings(
        "out of memory at profiling",
        OOM,
        "the GPU's memory ran out while the engine measured what a full batch needs",
        "lower MAX_NUM_SEQS, MAX_NUM_BATCHED_TOKENS or GPU_MEMORY_UTILIZATION, or set ENFORCE_EAGER=1",
        Remedy.LESS_MEMORY,
    ),
    FaultPattern(
        "out of memory at run time",
        Scope.PASSING,
        When.RUNNING,
        OOM,
        "the GPU's memory ran out while requests were running",
        "lower GPU_MEMORY_UTILIZATION or MAX_NUM_SEQS; the request can be sent again",
        Remedy.LESS_MEMORY,
    ),
)
