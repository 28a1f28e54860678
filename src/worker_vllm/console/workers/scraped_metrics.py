"""The figures of local workers, read from their Prometheus endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

TIMEOUT_S = 0.8
WINDOW, KV_USED, TOKENS = "worker_jobs_window", "vllm:kv_cache_usage_perc", "vllm:generation_tokens_total"
ENDED = "worker_jobs_total"  # requests too, in http mode


@dataclass(frozen=True, slots=True)
class WorkerFigures:
    """What one worker reported last; None for what it does not report."""

    window: float | None = None
    kv_used: float | None = None
    tokens: float | None = None
    ended: float | None = None


def parse_figures(text: str) -> WorkerFigures:
    """Read the figures from metrics in Prometheus' text format; samples of one name are added."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if not line.startswith((WINDOW, KV_USED, TOKENS, ENDED)):
            continue
        name = line.partition("{")[0].partition(" ")[0]
        try:
            found[name] = found.get(name, 0.0) + float(line.rpartition(" ")[2])
        except ValueError:
            continue
    return WorkerFigures(found.get(WINDOW), found.get(KV_USED), found.get(TOKENS), found.get(ENDED))


class MetricsReader:
    """Reads all workers at once; a worker that does not answer in time has no figures this time."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def read(self, addresses: Mapping[str, str]) -> dict[str, WorkerFigures]:
        """The figures by worker; `addresses` maps workers to `host:port`."""
        if not addresses:
            return {}
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        asked = dict(addresses)  # workers come and go while these are read
        found = await asyncio.gather(*(self._read_one(self._session, address) for address in asked.values()))
        return {name: figures for name, figures in zip(asked, found, strict=True) if figures is not None}

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _read_one(self, session: aiohttp.ClientSession, address: str) -> WorkerFigures | None:
        try:
            async with session.get(f"http://{address}/metrics") as answer:
                return parse_figures(await answer.text())
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
