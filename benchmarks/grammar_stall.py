"""What a request's content costs its neighbours: a stream on the real engine, its longest pause beside a bomb.

Each kind grows step by step until the stream pauses for longer than `--until-ms`. Every bomb has new words, so that
no cache of compiled grammars hides it. The limits of `jobs/request/request_limits.py` come from these figures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.bombs import KINDS
from tests.support.engines.real import real_engine_process
from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.interface import EngineRequest

TIMEOUT_S = 60.0
QUIET_S = 1.5
HARMLESS_MS = 100.0
NEIGHBOUR = {"model": "parrot", "prompt": "x" * 40, "max_tokens": 3000, "ignore_eos": True, "stream": True}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks grammar_stall", description=__doc__)
    parser.add_argument("--url", help="an engine that is running already; one is started otherwise")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS), metavar="KIND")
    parser.add_argument("--until-ms", type=float, default=400)
    parser.add_argument(
        "--repeat", type=int, default=5, help="bombs of a size at most, until one costs less than 100 ms"
    )
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        # More stop texts than vLLM's own 4, as the worker starts it.
        url = given.url or stack.enter_context(real_engine_process())
        asyncio.run(measure(url, given.kinds, given.until_ms, given.repeat))


async def measure(url: str, kinds: list[str], until_ms: float, repeat: int) -> None:
    """One line a size: the bytes, the engine's answer, the longest pause of the neighbour's stream.

    Of all tries the least, since everything else on the machine only ever adds to it.
    """
    engine = HttpEngine(url)
    try:
        quiet = [(await stall_ms(engine, None))[0] for _ in range(repeat)]
        print(f"no bomb: pauses of {', '.join(f'{pause:.0f}' for pause in quiet)} ms", flush=True)
        for kind in kinds:
            sizes, make = KINDS[kind]
            for size in sizes:
                tries: list[tuple[float, int, float]] = []
                while len(tries) < repeat and not any(pause < HARMLESS_MS for pause, _, _ in tries):
                    bomb = make(size)
                    tries.append(await stall_ms(engine, bomb))
                longest, status, took = min(tries)
                print(
                    f"{kind:<16}{size:>8}{len(json.dumps(bomb[1])):>10} bytes  {status}  "
                    f"pause {longest:6.0f} ms (of {', '.join(f'{one[0]:.0f}' for one in tries)})  "
                    f"answered in {took:6.0f} ms",
                    flush=True,
                )
                if longest > until_ms:
                    break
    finally:
        await engine.aclose()


async def stall_ms(engine: HttpEngine, bomb: tuple[str, Any] | None) -> tuple[float, int, float]:
    """The neighbour's longest pause around one bomb, and the bomb's status and duration, both in milliseconds."""
    times: list[float] = []
    started = asyncio.Event()
    reader = asyncio.create_task(_read(engine, times, started))
    try:
        await asyncio.wait_for(started.wait(), TIMEOUT_S)
        await asyncio.sleep(0.3)
        began = time.perf_counter()
        status = 0
        if bomb is not None:
            with contextlib.suppress(TimeoutError):
                status = await asyncio.wait_for(_send(engine, *bomb), TIMEOUT_S)
        took = time.perf_counter() - began
        await asyncio.sleep(QUIET_S if bomb is None else 0.3)
        ended = time.perf_counter()
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    inside = [began, *(moment for moment in times if moment > began), ended]
    longest = max(after - before for before, after in itertools.pairwise(inside))
    return longest * 1000, status, took * 1000


async def _read(engine: HttpEngine, times: list[float], started: asyncio.Event) -> None:
    while True:  # one stream after the other, should the first one end
        async for _ in _events(engine):
            times.append(time.perf_counter())
            started.set()


async def _events(engine: HttpEngine) -> AsyncIterator[bytes]:
    response = await engine.request(_request("/v1/completions", NEIGHBOUR))
    try:
        async for piece in response.chunks():
            yield piece
    finally:
        response.close()


async def _send(engine: HttpEngine, path: str, body: Any) -> int:
    response = await engine.request(_request(path, body))
    try:
        await response.read()
    finally:
        response.close()
    return response.status


def _request(path: str, body: Any) -> EngineRequest:
    return EngineRequest("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
