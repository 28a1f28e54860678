"""Connections that are reset, silent or slow between a worker process and its gateway: no job is lost, none doubled.

Cut connections in great numbers are in `test_chaos.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.gateway.conftest import serving
from tests.support.attached import worker_environment, worker_process
from tests.support.http import Http
from tests.support.jobs import finished
from tests.support.platforms.fault_proxy import FaultProxy, Mute, Reset, Slow, SocketFault, Towards, faulty
from tests.support.processes import Process
from worker_vllm.gateway.options import GatewayOptions

pytestmark = pytest.mark.timeout(30)  # each starts a worker process; 4 to 7 seconds on two busy cores

ECHO = {"ENGINE": "echo", "MODEL_NAME": "echo", "ECHO_TPOT_MS": "2"}
TEXT = "what goes in comes out " * 20
MUTED_S = 1.0
QUICK = GatewayOptions(webhook_pause_s=0.1)


@dataclass(frozen=True, slots=True)
class Attached:
    """A worker process behind a proxy."""

    endpoint: Http
    proxy: FaultProxy
    worker: Process

    async def runs(self) -> int:
        """Stop the worker; how many jobs it has run, by the line that each leaves in its log."""
        assert await asyncio.to_thread(self.worker.stop) == 0
        return self.worker.output().count('"outcome": ')

    async def gateway_counts(self) -> dict[str, int]:
        """The gateway's counts of jobs."""
        counts: dict[str, int] = (await self.endpoint.get("/health")).json["jobs"]
        return counts


@asynccontextmanager
async def attached(*faults: SocketFault) -> AsyncIterator[Attached]:
    """A gateway, the proxy with these faults, and a worker process that is ready behind it."""
    async with serving(QUICK, real_clock=True) as http, Http(f"{http.url}/v2/local") as endpoint:
        async with faulty(endpoint.url, *faults) as proxy:
            environment = {**worker_environment(proxy.url, "w1"), **ECHO}
            with worker_process(environment) as worker:
                while not (await endpoint.get("/health")).json["workers"]["ready"]:
                    await asyncio.sleep(0.02)
                yield Attached(endpoint, proxy, worker)


def native(text: str, *, stream: bool = False) -> dict[str, Any]:
    """A job whose answer is its prompt."""
    return {"prompt": text, "stream": stream, "sampling_params": {"max_tokens": 1000}}


def answer(found: dict[str, Any]) -> str:
    """The text of a completed job, streamed or not."""
    assert found["status"] == "COMPLETED", found
    return "".join(part for item in found["output"] for part in item["choices"][0]["tokens"])


# A job whose delivery is faulty → how often the gateway gave it out again.
UNANSWERED = Mute("job-take-batch", times=1)  # until the worker gives its poll up, after 90 seconds
DELIVERIES = [
    pytest.param(UNANSWERED, 1, marks=[pytest.mark.matrix, pytest.mark.timeout(180)], id="a poll without an end"),
    (Reset("job-take-batch", times=1), 1),
    (Reset("job-done", times=1), 0),
    (Reset("job-done", times=2, before=True), 0),
    (Mute("job-take-batch", times=1, for_s=3), 1),
    (Mute("job-done", times=1, towards=Towards.GATEWAY, for_s=MUTED_S), 0),
    (Mute("job-done", times=1, towards=Towards.WORKER, for_s=MUTED_S), 0),
    (Slow("job-take-batch", times=1, bytes_per_s=1_000), 0),
    (Slow("job-done", times=1, towards=Towards.GATEWAY, bytes_per_s=1_000), 0),
    (Slow("job-done", times=1, towards=Towards.WORKER, bytes_per_s=100), 0),
]


def name_of(value: object) -> str | None:
    """The name of a case: what happens to which request."""
    if not isinstance(value, SocketFault):
        return None
    towards = getattr(value, "towards", None)
    side = f" towards the {towards.name.lower()}" if towards else " before" if getattr(value, "before", None) else ""
    return f"{type(value).__name__.lower()} {value.operation}{side}"


@pytest.mark.parametrize(("fault", "again"), DELIVERIES, ids=name_of)
async def test_a_job_on_a_faulty_connection_ends_once(fault: SocketFault, again: int) -> None:
    """With its own answer. A job that never reached the worker is given out again; a result is posted again."""
    async with attached(fault) as up:
        found = await finished(up.endpoint, native(TEXT))
        assert (answer(found), found.get("retries", 0)) == (TEXT, again)
        assert fault.hits == fault.times
        next_one = await finished(up.endpoint, native("the next one"))
        assert answer(next_one) == "the next one"
        counts = await up.gateway_counts()
        assert (counts["completed"], counts["failed"], counts["retried"]) == (2, 0, again)
        assert await up.runs() == 2


IDLE: list[SocketFault] = [
    Reset("job-take-batch", held_s=0.05, times=3),
    Reset("job-take-batch", before=True, times=3),
    Reset("ping", times=2),
    Mute("ping", times=1),
    Mute("ping", towards=Towards.GATEWAY, times=1),
    Slow("ping", towards=Towards.GATEWAY, times=1),
]


@pytest.mark.parametrize("fault", IDLE, ids=name_of)
async def test_an_idle_worker_takes_again(fault: SocketFault) -> None:
    """A poll or a ping that breaks off, or is not answered, costs no job and ends no worker."""
    async with attached(fault) as up:
        while fault.hits != fault.times:
            await asyncio.sleep(0.01)
        found = await finished(up.endpoint, native(TEXT))
        assert (answer(found), found.get("retries", 0)) == (TEXT, 0)
        assert await up.runs() == 1


LOST_PIECES: list[SocketFault] = [
    Reset("job-stream", times=1),
    Reset("job-stream", times=1, before=True),
    Mute("job-stream", times=1, towards=Towards.GATEWAY, for_s=MUTED_S),
    Mute("job-stream", times=1, towards=Towards.WORKER, for_s=MUTED_S),
]


@pytest.mark.parametrize("fault", LOST_PIECES, ids=name_of)
async def test_a_piece_of_unknown_fate_fails_its_stream_and_no_other(fault: SocketFault) -> None:
    """It may have arrived, so it is not posted again: the job says so, once, and the next stream is whole."""
    async with attached(fault) as up:
        found = await finished(up.endpoint, native(TEXT, stream=True))
        assert found["status"] == "FAILED", found
        assert "a piece of the stream may have been lost" in found["error"]
        next_one = await finished(up.endpoint, native(TEXT, stream=True))
        assert answer(next_one) == TEXT
        assert await up.runs() == 2


@pytest.mark.parametrize("towards", Towards)
async def test_a_slow_connection_delivers_a_stream_whole(towards: Towards) -> None:
    """What gathers while a piece is under way goes with the next one: few pieces, every token, once."""
    slow = Slow("job-stream", towards=towards, bytes_per_s=2_000)
    async with attached(slow) as up:
        found = await finished(up.endpoint, native(TEXT, stream=True))
        assert answer(found) == TEXT
        assert slow.hits >= 2
        assert await up.runs() == 1
