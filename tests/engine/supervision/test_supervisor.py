"""The engine over several launches, on the echo engine as a real child process."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.engines.supervised import ECHO, Supervised, supervised
from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.diagnosis.types import Diagnosis, Scope
from worker_vllm.engine.interface import EngineRequest, EngineResponse, EngineState
from worker_vllm.engine.process.child_process import spawn
from worker_vllm.engine.process.guard import descendants
from worker_vllm.engine.supervision.startup import StartPlan
from worker_vllm.engine.supervision.supervisor import Supervisor
from worker_vllm.errors import EngineError, EngineUnavailable

STREAM = json.dumps({"model": "parrot", "prompt": "hello", "stream": True, "echo": {"gate": "shut"}}).encode()
HANGING_STREAM = json.dumps(
    {"model": "parrot", "prompt": "hello", "stream": True, "echo": {"hang_after": 2}}
).encode()
ONCE = json.dumps({"model": "parrot", "prompt": "hello", "echo": {"gate": "shut"}}).encode()
FREE = json.dumps({"model": "parrot", "prompt": "hello"}).encode()
OUT_OF_MEMORY = "(EngineCore pid=1) ERROR 11-22 14:00:00 [core.py:1] torch.OutOfMemoryError: CUDA out of memory."


def get(path: str) -> EngineRequest:
    return EngineRequest("GET", path)


@pytest.fixture
def children() -> Callable[[], list[int]]:
    """The processes below this one that the test itself has started."""
    before = set(descendants(os.getpid()))
    return lambda: [pid for pid in descendants(os.getpid()) if pid not in before]


async def exit_now(run: Supervised) -> None:
    """The engine crashes."""
    with pytest.raises((EngineError, EngineUnavailable)):
        await (await run.post("/echo/exit", b'{"code": 3}')).read()


async def read_to_the_end(response: EngineResponse) -> bytes:
    try:
        return b"".join([chunk async for chunk in response.chunks()])
    finally:
        response.close()


async def test_it_serves_when_the_engine_is_ready_and_leaves_nothing() -> None:
    """STARTING → READY → STOPPED; a request waits for the start, and a warm-up comes before it."""
    async with supervised() as run:
        answer = json.loads(await (await run.post("/v1/completions", FREE)).read())
        assert answer["choices"][0]["text"] == "hello"
        requests = json.loads(await (await run.supervisor.request(get("/echo/requests"))).read())
        assert requests[0]["path"] == "/v1/completions"
        assert len(requests) == 2
    assert run.states == [EngineState.READY, EngineState.STOPPED]


async def test_settings_that_cannot_work_leave_a_sentence_for_every_request(
    children: Callable[[], list[int]],
) -> None:
    """The worker stays up and answers at once; nothing is started again."""
    log = "vllm serve: error: argument --dtype: invalid choice: 'float99' (choose from 'auto', 'half')"
    async with supervised(environment={"ECHO_START_LOG": log, "ECHO_START_EXIT": "2"}) as run:
        assert await run.supervisor.wait_until_decided() is EngineState.REFUSING
        for _ in range(2):
            with pytest.raises(EngineUnavailable) as refusal:
                await run.post("/v1/completions", FREE)
            assert "DTYPE" in refusal.value.message
            assert refusal.value.status == 503
        assert not run.running.done()
        assert children() == []


async def test_a_refusal_by_the_preflight_starts_nothing(children: Callable[[], list[int]]) -> None:
    """What is known to fail is reported without an engine."""
    refusal = Diagnosis("model not found", Scope.SETTINGS, "there is no model at /x; correct MODEL_NAME")
    supervisor = Supervisor(StartPlan(ECHO, os.environ, refusal=refusal), HttpEngine)
    running = asyncio.create_task(supervisor.run())
    with pytest.raises(EngineUnavailable, match="there is no model at /x"):
        await supervisor.request(get("/health"))
    states = [supervisor.state]
    assert children() == []
    await supervisor.stop()
    await running
    assert [*states, supervisor.state] == [EngineState.REFUSING, EngineState.STOPPED]


async def test_a_stop_at_any_moment_of_the_start_leaves_nothing(children: Callable[[], list[int]]) -> None:
    """Before the supervisor takes the process over, just after, and while it starts."""
    for turns in (0, 1, 2, 50):
        process = spawn(ECHO, os.environ)
        supervisor = Supervisor(StartPlan(ECHO, os.environ, process=process), HttpEngine)
        running = asyncio.create_task(supervisor.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        await supervisor.stop()
        await running
        assert supervisor.state is EngineState.STOPPED
        assert not os.path.exists(os.path.dirname(process.socket))
    assert children() == []


async def test_a_broken_machine_is_left() -> None:
    """A cause in the host ends the supervision at once, so that another machine serves."""
    log = "OSError: [Errno 28] No space left on device"
    async with supervised(environment={"ECHO_START_LOG": log, "ECHO_START_EXIT": "1"}) as run:
        assert await run.supervisor.wait_until_decided() is EngineState.GONE
        assert run.supervisor.diagnosis.startswith("the disk is full")
        await run.running


async def test_a_relaunch_that_cannot_be_spawned_is_a_diagnosis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: Callable[[], list[int]]
) -> None:
    """The directory for temporary files vanished while the engine served: every request gets the reason."""
    async with supervised() as run:
        assert await run.supervisor.wait_until_decided() is EngineState.READY
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
        await exit_now(run)
        assert await run.until(EngineState.REFUSING, EngineState.STOPPED) is EngineState.REFUSING
        with pytest.raises(EngineUnavailable, match=r"the engine cannot be spawned: \[Errno 2\] .*; check TMPDIR"):
            await run.post("/v1/completions", FREE)
        assert children() == []


async def test_out_of_memory_is_tried_once_more_with_less() -> None:
    """Loudly, with smaller values of what the user did not set; then the settings are to blame."""
    environment = {"ECHO_START_LOG": OUT_OF_MEMORY, "ECHO_START_EXIT": "1"}
    async with supervised(environment=environment, arguments=("--max-num-seqs", "7")) as run:
        assert await run.supervisor.wait_until_decided() is EngineState.REFUSING
        assert run.supervisor.arguments == (
            *("--max-num-seqs", "7"),
            *("--gpu-memory-utilization", "0.85"),
            *("--max-num-batched-tokens", "8192"),
            "--enforce-eager",
        )


@pytest.mark.parametrize(
    "body",
    [STREAM, HANGING_STREAM, ONCE],
    ids=["before the first token", "after the first token", "complete answers"],
)
async def test_every_request_in_flight_fails_with_the_cause_within_a_second(body: bytes) -> None:
    """200 at once; and the next request after the relaunch succeeds."""
    async with supervised() as run:
        await run.supervisor.wait_until_decided()
        asked = [asyncio.create_task(ask(run, body)) for _ in range(200)]
        await (await run.supervisor.request(get("/echo/wait?running=200"))).read()
        await exit_now(run)
        died = time.monotonic()
        errors = await asyncio.gather(*asked)
        assert time.monotonic() - died < 1
        assert {type(error) for error in errors} == {EngineUnavailable}
        assert "the engine stopped working" in str(errors[0])
        assert await run.until(EngineState.READY) is EngineState.READY
        assert (await run.post("/v1/completions", FREE)).status == 200
    assert run.states == [EngineState.READY, EngineState.STARTING, EngineState.READY, EngineState.STOPPED]


async def test_a_cause_that_keeps_coming_back_ends_in_leaving() -> None:
    """Two relaunches for one cause, then the machine is left."""
    async with supervised() as run:
        for _ in range(3):
            assert await run.until(EngineState.READY) is EngineState.READY
            await exit_now(run)
        assert await run.until(EngineState.GONE) is EngineState.GONE
        await run.running


async def test_an_engine_that_reports_itself_dead_is_ended() -> None:
    """The first 5xx answer is followed by a health check; its reader gets the diagnosis."""
    failing = json.dumps({"model": "parrot", "prompt": "hello", "echo": {"status": 500}}).encode()
    async with supervised() as run:
        await run.supervisor.wait_until_decided()
        assert (await run.post("/v1/completions", failing)).status == 500
        await (await run.post("/echo/health", b'{"status": 503}')).read()
        error = await ask(run, failing)
        assert isinstance(error, EngineUnavailable)
        assert "reports that it is dead" in error.message
        assert await run.until(EngineState.STARTING) is EngineState.STARTING
        assert "reports that it is dead" in run.supervisor.diagnosis


async def test_a_start_that_takes_too_long_is_given_up() -> None:
    """With the time it was given and what to change."""
    async with supervised(environment={"ECHO_START_DELAY_S": "60"}, start_timeout_s=0.3) as run:
        assert await run.supervisor.wait_until_decided() is EngineState.GONE
        assert "was not ready after 0 s; raise ENGINE_START_TIMEOUT" in run.supervisor.diagnosis


async def ask(run: Supervised, body: bytes) -> Exception | None:
    """One request to its end; what it failed with."""
    try:
        await read_to_the_end(await run.post("/v1/completions", body))
    except (EngineError, EngineUnavailable) as error:
        return error
    return None
