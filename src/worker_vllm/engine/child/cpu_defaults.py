"""Defaults for vLLM's CPU build that suit development, for what the user left open.

vLLM's own defaults there claim 92% of the machine's memory, which a machine in use never has free, and compile the
model for longer than a development session uses it.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from itertools import takewhile

from worker_vllm.engine.process.command import COMPILE_CHOICES, has_any_flag

KV_CACHE = "VLLM_CPU_KVCACHE_SPACE"
KV_CACHE_GIB = "1"
STAGES = ("--pipeline-parallel-size", "-pp")
ADAPTERS = "--lora-modules"
EAGER = "ENFORCE_EAGER"  # 0 is vLLM's default and becomes no flag, so the variable itself is checked here
MEMORY_CHOICES = ("--kv-cache-memory-bytes", "--gpu-memory-utilization")


def add_defaults(environment: MutableMapping[str, str], arguments: list[str]) -> None:
    """Add the missing values to the environment and the command line, and log them in one line."""
    added = []
    if KV_CACHE not in environment and not has_any_flag(arguments, MEMORY_CHOICES):
        environment[KV_CACHE] = KV_CACHE_GIB
        added.append(f"{KV_CACHE}={KV_CACHE_GIB} (GiB)")
    # Without compilation vLLM 0.32.0 skips the dummy run, and a second pipeline stage then has no buffer for the
    # first stage's output: `assert self.intermediate_tensors is not None` at the first request.
    if not (
        environment.get(EAGER, "").strip()
        or has_any_flag(arguments, COMPILE_CHOICES)
        or has_any_flag(arguments, STAGES)
    ):
        arguments.append("--enforce-eager")
        added.append(f"--enforce-eager ({EAGER}=0 compiles)")
    # vLLM 0.32.0 on CPU applies the last adapter slot to a base request that shares its batch with an adapter's
    # (lora/ops/torch_ops/lora_ops.py indexes with -1): an empty last slot leaves the base model unchanged.
    if (adapters := count_adapters(arguments)) and not has_any_flag(arguments, ("--max-loras",)):
        arguments += ["--max-loras", str(adapters + 1)]
        added.append(f"--max-loras {adapters + 1} (the last slot stays empty)")
    if added:
        print(f"CPU engine, defaults of the worker: {', '.join(added)}", flush=True)  # noqa: T201 the child's log


def count_adapters(arguments: Sequence[str]) -> int:
    """Number of adapters on the command line, one per item after their flag."""
    if ADAPTERS not in arguments:
        return 0
    items = arguments[arguments.index(ADAPTERS) + 1 :]
    return len(list(takewhile(lambda item: not item.startswith("-"), items)))
