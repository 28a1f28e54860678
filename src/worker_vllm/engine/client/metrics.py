"""The engine's `/metrics`: requested, and parsed into its load and its progress (vLLM 0.32's names)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from worker_vllm.engine.interface import Engine, EngineLoad, EngineRequest
from worker_vllm.errors import WorkerError

METRICS = EngineRequest("GET", "/metrics")
TIMEOUT_S = 2.0
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
KV_USED = "vllm:kv_cache_usage_perc"
# vLLM 0.32.0, v1/metrics/loggers.py: all come from the engine core's steps, none from its server. While a long prompt
# is read in chunks, only the use of the cache changes.
PROGRESS = (
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:request_success_total",
    "vllm:iteration_tokens_total_sum",
    KV_USED,
    RUNNING,
    WAITING,
)
SAMPLE = re.compile(
    r"^(?P<name>[\w:]+)(?:\{.*\})? (?P<value>[-+]?[\d.]+(?:[eE][-+]?\d+)?)(?: \d+)?$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Progress:
    """The counters, each summed over all data-parallel engines (one label each); empty when none is exposed."""

    counters: tuple[tuple[str, float], ...]

    @property
    def unfinished(self) -> int:
        """How many requests run or wait in the engine."""
        return int(sum(value for name, value in self.counters if name in (RUNNING, WAITING)))


def samples(exposition: str) -> Iterator[tuple[str, float]]:
    """Name and value of every sample in a Prometheus text; labels, timestamps, NaN and Inf are left out."""
    for sample in SAMPLE.finditer(exposition):
        yield sample["name"], float(sample["value"])


def parse_load(exposition: str) -> EngineLoad | None:
    """The load in a Prometheus text; None where the text does not contain it."""
    values: dict[str, list[float]] = {RUNNING: [], WAITING: [], KV_USED: []}
    for name, value in samples(exposition):
        if name in values:
            values[name].append(value)
    if not values[RUNNING] or not values[WAITING]:
        return None
    kv_used = max(values[KV_USED], default=0.0)
    return EngineLoad(running=int(sum(values[RUNNING])), waiting=int(sum(values[WAITING])), kv_used=kv_used)


def parse_progress(exposition: str) -> Progress:
    """The progress in a Prometheus text."""
    found: dict[str, float] = {}
    for name, value in samples(exposition):
        if name in PROGRESS:
            found[name] = found.get(name, 0.0) + value
    return Progress(tuple(sorted(found.items())))


async def fetch_load(engine: Engine) -> EngineLoad | None:
    """The engine's load now; None when it exposes none or does not answer in time."""
    return parse_load((await fetch_metrics(engine)).decode("utf-8", "replace"))


async def fetch_metrics(engine: Engine, accept: str = "") -> bytes:
    """The engine's metrics in the format that `accept` asks for, by default Prometheus' text.

    Empty when it exposes none or does not answer in time.
    """
    request = replace(METRICS, headers={"Accept": accept}) if accept else METRICS
    with suppress(WorkerError, TimeoutError):
        async with asyncio.timeout(TIMEOUT_S):
            response = await engine.request(request)
            try:
                if response.status == 200:
                    return await response.read()
            finally:
                response.close()
    return b""
