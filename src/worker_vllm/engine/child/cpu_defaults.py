"""What the CPU build of the engine needs to be told for development, unless the user said it.

vLLM's own defaults there claim 92% of the machine's memory, which a machine in use never has free, and compile the
model for longer than a development session asks it questions.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from worker_vllm.settings.arguments import COMPILATION_FLAGS, EngineArguments

KV_CACHE = "VLLM_CPU_KVCACHE_SPACE"
KV_CACHE_GIB = "1"
STAGES = "--pipeline-parallel-size"
ADAPTERS = "--lora-modules"
EAGER = "ENFORCE_EAGER"  # 0 is vLLM's default and therefore no flag: here the variable itself is the choice
MEMORY_CHOICES = ("--kv-cache-memory-bytes", "--gpu-memory-utilization")


def add_defaults(environment: MutableMapping[str, str], arguments: list[str]) -> None:
    """Add the missing choices to the environment and the command line, and say so in one line."""
    added = []
    given = EngineArguments(arguments)
    if KV_CACHE not in environment and not given.has(*MEMORY_CHOICES):
        environment[KV_CACHE] = KV_CACHE_GIB
        added.append(f"{KV_CACHE}={KV_CACHE_GIB} (GiB)")
    # vLLM 0.32.0 runs nothing ahead when it compiles nothing, and a second stage then has no place for what the first
    # one sends: `assert self.intermediate_tensors is not None` at the first request.
    if not environment.get(EAGER, "").strip() and not given.has(*COMPILATION_FLAGS, STAGES):
        arguments.append("--enforce-eager")
        added.append(f"--enforce-eager ({EAGER}=0 compiles)")
    # vLLM 0.32.0 on CPU gives a base request that shares its batch with an adapter's the weights of the last adapter
    # slot (lora/ops/torch_ops/lora_ops.py indexes with -1): a slot that stays empty keeps the base model itself.
    if (adapters := len(given.values(ADAPTERS))) and not given.has("--max-loras"):
        arguments += ["--max-loras", str(adapters + 1)]
        added.append(f"--max-loras {adapters + 1} (one that stays empty)")
    if added:
        print(f"CPU engine, chosen because nothing else was: {', '.join(added)}", flush=True)  # noqa: T201 the child's log
