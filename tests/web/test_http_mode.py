"""Http mode as a process over the echo engine: one port, two servers, no refused connection."""

from __future__ import annotations

import asyncio
import json
import signal
import time

import pytest

from tests.support.http_mode import COMPLETION, Traffic, ask, free_ports, http_worker

pytestmark = pytest.mark.timeout(20)

SLOW_START = {"ECHO_START_DELAY_S": "0.7"}
BAD_FLAG = "vllm: error: unrecognized arguments: --zip"


@pytest.mark.parametrize("apart", [False, True], ids=["one port", "two ports"])
async def test_the_life_of_a_worker(apart: bool) -> None:
    """204, 200, requests at the engine's own server, kill -9, 503 with the cause, 200 again, exit 0."""
    with http_worker(SLOW_START, apart=apart) as worker:
        await worker.listening()
        starting = await worker.get()
        assert (starting.status, starting.body, starting.headers["x-worker-phase"]) == (204, b"", "import")
        assert float(starting.headers["x-worker-remaining-seconds"]) >= 1
        refused = await worker.post()
        assert (refused.status, refused.json["error"]["code"]) == (503, 503)
        assert int(refused.headers["retry-after"]) >= 1
        assert (await worker.get("/health/ready")).status == 503
        assert (await worker.get("/health/live")).status == 200
        await worker.until(200)
        served = await worker.post()
        assert (served.status, served.headers["server"]) == (200, "uvicorn")
        worker.kill_engine()
        dead = await worker.get()
        assert (dead.status, dead.json["status"]) == (503, "dead")
        assert (await worker.post()).status == 503
        messages = set()
        while (answer := await worker.get()).status == 503:
            messages.add(answer.json["message"].partition(";")[0])
        assert any("the engine stopped working" in message for message in messages), messages
        assert answer.status == 200
        assert (await worker.post()).status == 200
        worker.process.signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.process.exit_code) == 0


@pytest.mark.parametrize("apart", [False, True], ids=["one port", "two ports"])
async def test_a_signal_lets_running_requests_finish(apart: bool) -> None:
    """Readiness goes first; the stream that runs ends whole; new requests get 503; exit 0."""
    with http_worker({}, apart=apart) as worker:
        await worker.listening()
        await worker.until(200)
        await worker.control("POST", "script", {"script": {"gate": "open"}})
        body = {**COMPLETION, "max_tokens": 30, "stream": True, "ignore_eos": True}
        stream = asyncio.create_task(worker.post(body=body))
        await worker.control("GET", "wait?running=1")
        worker.process.signal(signal.SIGTERM)
        draining = await worker.until(503)
        assert draining.json["status"] == "draining"
        while (await worker.post()).status == 200:  # readiness goes first, then the port
            pass
        assert (await worker.post()).status == 503
        assert not stream.done()
        await worker.control("POST", "release", {"gate": "open", "tokens": 100})
        answer = await stream
        assert answer.status == 200
        assert b"data: [DONE]" in answer.body
        assert await asyncio.to_thread(worker.process.exit_code) == 0


async def test_the_drain_ends_after_its_timeout() -> None:
    """A stream that never ends does not keep the worker."""
    with http_worker({"DRAIN_TIMEOUT": "0.3"}) as worker:
        await worker.listening()
        await worker.until(200)
        await worker.control("POST", "script", {"script": {"gate": "closed"}})
        stream = asyncio.create_task(ask(worker.port, "POST", "/v1/completions", {**COMPLETION, "stream": True}))
        await worker.control("GET", "wait?running=1")
        worker.process.signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.process.exit_code) == 0
        await asyncio.wait([stream])  # cut off, or ended by an error event


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"MAX_MODEL_LEN": "8k tokens"}, 'MAX_MODEL_LEN="8k tokens": expected'),
        ({"ECHO_START_LOG": BAD_FLAG, "ECHO_START_EXIT": "2"}, "this engine has no option --zip"),
    ],
    ids=["settings", "engine"],
)
async def test_settings_that_cannot_work(environment: dict[str, str], message: str) -> None:
    """The worker stays up: 503 and the sentence on health and on requests; SIGTERM ends it with 0."""
    with http_worker(environment) as worker:
        await worker.listening()
        found = await worker.until(503)
        assert message in found.json["message"]
        assert message in json.loads((await worker.post()).body)["error"]["message"]
        worker.process.signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.process.exit_code) == 0


async def test_a_port_that_is_taken() -> None:
    """Status 78 and what to change."""
    with http_worker({}) as worker:
        await worker.listening()
        with http_worker({"PORT": str(worker.port)}) as second:
            assert await asyncio.to_thread(second.process.exit_code) == 78
            assert "set PORT" in second.process.output()


@pytest.mark.parametrize("apart", [False, True], ids=["one port", "two ports"])
async def test_a_thousand_probes_and_requests_from_before_the_start_across_a_death(apart: bool) -> None:
    """No refusal, no reset, only 204, 200 and 503; but requests that the engine had accepted die with it.

    Eight clients at a time, each request on a connection of its own. The first ones find no process yet.
    """
    traffic, stop, ports = Traffic(), asyncio.Event(), free_ports(apart=apart)
    clients = [asyncio.create_task(traffic.run(ports, stop, 1000)) for _ in range(8)]
    while not traffic.failures:
        await asyncio.sleep(0.001)
    with http_worker(SLOW_START, ports=ports) as worker:
        await worker.listening()
        await worker.until(200)
        await asyncio.sleep(0.3)
        died = worker.kill_engine()
        await worker.until(503)
        noticed = time.monotonic()
        await worker.until(200)
        stop.set()
        await asyncio.gather(*clients)
        assert traffic.unexplained((died, noticed)) == []
        assert set(traffic.statuses) == {204, 200, 503}
        assert min(traffic.probes, traffic.requests) >= 1000


async def test_constant_traffic_while_the_worker_stops() -> None:
    """Every request that was answered with 200 is whole, and none is cut off before the process leaves the port."""
    whole, cut, refused = 0, 0, asyncio.Event()

    async def client(port: int) -> None:
        nonlocal whole, cut
        while not refused.is_set():
            try:
                answer = await ask(port, "POST", "/v1/completions", {**COMPLETION, "max_tokens": 20, "stream": True})
            except OSError:
                refused.set()
                return
            except EOFError:
                cut += 1
                continue
            assert answer.status in (200, 503)
            if answer.status == 200:
                assert b"data: [DONE]" in answer.body
                whole += 1

    with http_worker({"ECHO_TPOT_MS": "10"}) as worker:
        await worker.listening()
        await worker.until(200)
        clients = [asyncio.create_task(client(worker.port)) for _ in range(8)]
        while whole < 20:
            await asyncio.sleep(0.01)
        worker.process.signal(signal.SIGTERM)
        await asyncio.gather(*clients)
        assert await asyncio.to_thread(worker.process.exit_code) == 0
        assert cut == 0
