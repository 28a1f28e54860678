"""What the CPU build of the engine needs to be told for development, unless the user said it.

vLLM's own defaults there claim 92% of the machine's memory, which a machine in use never has free, and compile the
model for longer than a development session asks it questions.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from worker_vllm.engine.command import COMPILE_CHOICES, chosen

KV_CACHE = "VLLM_CPU_KVCACHE_SPACE"
KV_CACHE_GIB = "1"
STAGES = ("--pipeline-parallel-size", "-pp")
STAGE_SHARE = "0.2"  # of the machine's memory, for each stage
MEMORY_CHOICES = ("--kv-cache-memory-bytes", "--gpu-memory-utilization")


def add_defaults(environment: MutableMapping[str, str], arguments: list[str]) -> None:
    """Add the missing choices to the environment and the command line, and say so in one line."""
    added = []
    # vLLM 0.32.0 skips its warm-up when the cache's size is given and nothing is compiled; a second stage then has
    # no place for what the first one sends: `assert self.intermediate_tensors is not None` at the first request.
    stages = chosen(arguments, STAGES)
    if stages and KV_CACHE not in environment and not chosen(arguments, MEMORY_CHOICES):
        arguments += ["--gpu-memory-utilization", STAGE_SHARE]
        added.append(f"--gpu-memory-utilization {STAGE_SHARE}")
    elif KV_CACHE not in environment and not chosen(arguments, MEMORY_CHOICES):
        environment[KV_CACHE] = KV_CACHE_GIB
        added.append(f"{KV_CACHE}={KV_CACHE_GIB} (GiB)")
    if not chosen(arguments, COMPILE_CHOICES) and not (stages and KV_CACHE in environment):
        arguments.append("--enforce-eager")
        added.append("--enforce-eager (ENFORCE_EAGER=0 compiles)")
    if added:
        print(f"CPU engine, chosen because nothing else was: {', '.join(added)}", flush=True)  # noqa: T201 the child's log
