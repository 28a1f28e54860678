"""What the engine says about its own load: three of the values in its Prometheus text (vLLM 0.32's names)."""

from __future__ import annotations

from dataclasses import dataclass

RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
KV_USED = "vllm:kv_cache_usage_perc"


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """Sequences that run and that wait, over all engine replicas; the fullest one's share of KV memory, 0 to 1."""

    running: int
    waiting: int
    kv_used: float


def parse_load(exposition: str) -> EngineLoad | None:
    """The load in a Prometheus text, None where it is not told."""
    running = _values(exposition, RUNNING)
    waiting = _values(exposition, WAITING)
    if not running or not waiting:
        return None
    kv_used = max(_values(exposition, KV_USED), default=0.0)
    return EngineLoad(running=int(sum(running)), waiting=int(sum(waiting)), kv_used=kv_used)


def _values(exposition: str, name: str) -> list[float]:
    found: list[float] = []
    for line in exposition.splitlines():
        if line.startswith((name + "{", name + " ")):
            value = line.rpartition("}")[2] if "}" in line else line[len(name) :]
            found.append(float(value.split()[0]))
    return found
