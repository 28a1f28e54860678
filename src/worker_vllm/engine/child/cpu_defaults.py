"""Defaults for vLLM's CPU build that suit development, for what the user left open.

vLLM's own defaults there claim 92% of the machine's memory, which a machine in use never has free, and compile the
model for longer than a development session uses it.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from worker_vllm.settings.arguments import COMPILATION_FLAGS, EngineArguments

KV_CACHE = "VLLM_CPU_KVCACHE_SPACE"
KV_CACHE_GIB = "1"
STAGES = "--pipeline-parallel-size"
ADAPTERS = "--lora-modules"
EAGER = "ENFORCE_EAGER"  # 0 is vLLM's default and becomes no flag, so the variable itself is checked here
MEMORY_CHOICES = ("--kv-cache-memory-bytes", "--gpu-memory-utilization")


def add_defaults(environment: MutableMapping[str, str], arguments: list[str]) -> None:
    """Add the missing values to the environment and the command line, and log them in one line."""
    added = []
    given = EngineArguments(arguments)
    if KV_CACHE not in environment and not given.has(*MEMORY_CHOICES):
        environment[KV_CACHE] = KV_CACHE_GIB
        added.append(f"{KV_CACHE}={KV_CACHE_GIB} (GiB)")
    # Without compilation vLLM 0.32.0 skips the dummy run, and a second pipeline stage then has no buffer for the
    # first stage's output: `assert self.intermediate_tensors is not None` at the first request.
    if not environment.get(EAGER, "").strip() and not given.has(*COMPILATION_FLAGS, STAGES):
        arguments.append("--enforce-eager")
        added.append(f"--enforce-eager ({EAGER}=0 compiles)")
    # vLLM 0.32.0 on CPU applies the last adapter slot to a base request that shares its batch with an adapter's
    # (lora/ops/torch_ops/lora_ops.py indexes with -1): an empty last slot leaves the base model unchanged.
    if (adapters := len(given.values(ADAPTERS))) and not given.has("--max-loras"):
        arguments += ["--max-loras", str(adapters + 1)]
        added.append(f"--max-loras {adapters + 1} (the last slot stays empty)")
    if added:
        print(f"CPU engine, defaults of the worker: {', '.join(added)}", flush=True)  # noqa: T201 the child's log
