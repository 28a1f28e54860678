"""Which processes vLLM's CPU build starts: forked or spawned ones, and whether the engine core runs the model itself.

A fork cannot have other OpenMP settings than its template, so an environment that sets any gets vLLM's own start.
vLLM runs the model in a process of its own on CPU, since only there it can set OpenMP's variables before OpenMP is
loaded (0.32.0, platforms/cpu.py). A forked start has set them in the template already, so that the engine core can
run the model itself, as on one GPU: core and model process would otherwise wait for each other in loops, which take
both of two cores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker_vllm.settings.arguments import EngineArguments

# If any of them is set, the user configures processes or threads, and vLLM starts them its own way.
THREAD_VARIABLES = (
    "VLLM_WORKER_MULTIPROC_METHOD",
    "VLLM_CPU_OMP_THREADS_BIND",
    "VLLM_CPU_SIM_MULTI_NUMA",
    "OMP_NUM_THREADS",
    "OMP_PLACES",
    "OMP_PROC_BIND",
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
    "LD_PRELOAD",
)
# vLLM's variable: 0 lets the engine core run the model itself, 1 gives the model a process of its own on CPU.
MULTIPROCESSING = "VLLM_ENABLE_V1_MULTIPROCESSING"


def starts_forked(environment: Mapping[str, str], arguments: Sequence[str]) -> bool:
    """Whether `vllm serve` with these arguments is forked: no parallelism, and no THREAD_VARIABLES set."""
    parallel = any("parallel" in option.flag for option in EngineArguments(arguments).options)
    return not parallel and not any(name in environment for name in THREAD_VARIABLES)


def core_runs_model(environment: Mapping[str, str], arguments: Sequence[str]) -> bool:
    """Whether the CPU build's engine core runs the model itself, without a process beside it."""
    chosen = EngineArguments(arguments).get("--distributed-executor-backend")
    forked = starts_forked(environment, arguments)
    return forked and environment.get(MULTIPROCESSING, "0") == "0" and chosen in (None, "uni")
