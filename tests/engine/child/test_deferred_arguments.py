"""An engine spawned before its model is on disk: it imports meanwhile, and is told what to serve or ended."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.engines.fake_vllm import with_fake_vllm
from tests.support.engines.supervised import Supervised, followed
from worker_vllm.engine.child.deferred_arguments import IMPORTED
from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.diagnosis.types import Diagnosis, Scope
from worker_vllm.engine.interface import EngineState
from worker_vllm.engine.process.child_process import EngineProcess, spawn
from worker_vllm.engine.process.command import engine_argv
from worker_vllm.engine.process.guard import descendants, read_stat
from worker_vllm.engine.supervision.startup import Backoff, StartPlan
from worker_vllm.engine.supervision.supervisor import Supervisor
from worker_vllm.errors import EngineUnavailable
from worker_vllm.models.locate import FoundModel, Source
from worker_vllm.models.references import Reference, Role
from worker_vllm.settings.types import EngineSettings

SETTINGS = EngineSettings(model="org/parrot", served_names=("org/parrot",), start_timeout_s=20)
FETCHED = replace(SETTINGS, model="/cache/snapshots/0123", arguments=("--tokenizer", "/cache/tokenizer"))
FOUND = FoundModel(
    model="org/parrot",
    name="org/parrot",
    source=Source.HUB,
    commit=None,
    arguments=(),
    environment={},
    downloads=(Reference(Role.MODEL, "org/parrot", None),),
)
GATED = Diagnosis("hub: gated", Scope.SETTINGS, "org/parrot is gated; set HF_TOKEN")
NO_ROOM = Diagnosis("hub: disk", Scope.HOST, "no room for org/parrot")
SOON = Backoff(0.01, 0.01)
UNREACHABLE = Diagnosis("hub: unreachable", Scope.PASSING, "the hub does not answer")


class Start:
    """A supervisor over an engine that waits, and the download as the test plays it."""

    def __init__(self, environment: Mapping[str, str], backoff: Backoff = SOON) -> None:
        self.process: EngineProcess = spawn(SETTINGS, environment, waiting=True)
        self.outcomes: asyncio.Queue[EngineSettings | Diagnosis] = asyncio.Queue()
        self.asked = 0
        self.downloading = asyncio.Event()
        beginning = StartPlan(SETTINGS, environment, process=self.process, found=FOUND, backoff=backoff)
        self.supervisor = Supervisor(beginning, HttpEngine, self.provide)

    async def provide(self, *_: object) -> EngineSettings | Diagnosis:
        self.asked += 1
        self.downloading.set()
        return await self.outcomes.get()

    def run(self) -> AbstractAsyncContextManager[Supervised]:
        return followed(self.supervisor)

    @property
    def processes(self) -> list[int]:
        """The guard's and everything's below it."""
        return [self.process.pid, *descendants(self.process.pid)]

    @property
    def directory(self) -> Path:
        return Path(self.process.socket).parent

    def left(self, pids: list[int]) -> list[object]:
        """What there still is of these processes and of the engine's directory."""
        return [pid for pid in pids if read_stat(pid)] + [path for path in [self.directory] if path.exists()]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return with_fake_vllm(tmp_path / "fake")


@pytest.fixture
def gate(tmp_path: Path, environment: dict[str, str]) -> Path:
    """What the engine's imports wait for: they can be met there, and go on when it is closed."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    environment["FAKE_VLLM_GATE"] = str(path)
    return path


def phases(run: Supervised) -> list[str]:
    """The names in the timeline, in order."""
    return [part.rsplit(" ", 1)[0] for part in run.supervisor.timeline.partition("(")[2].split(", ")]


async def test_it_imports_during_the_download_and_then_serves_what_it_is_told(environment: dict[str, str]) -> None:
    """One process for both; every argument is the told one, and the timeline names what ran beside what."""
    start = Start(environment)
    async with start.run() as run:
        await run.line(IMPORTED)
        assert run.supervisor.state is EngineState.STARTING
        pids = start.processes
        start.outcomes.put_nowait(FETCHED)
        assert await run.supervisor.wait_until_decided() is EngineState.READY
        assert start.processes == pids
        told = "vllm serve /cache/snapshots/0123 --uds {} --served-model-name org/parrot --tokenizer /cache/tokenizer"
        await run.line(f"argv: {told.format(start.process.socket)} --disable-uvicorn-access-log")
        assert phases(run) == ["import", "rest of the download", "warm-up /v1/completions"]
    assert run.states == [EngineState.READY, EngineState.STOPPED]
    assert start.left(pids) == []


async def test_a_download_quicker_than_the_imports_waits_for_nothing(environment: dict[str, str], gate: Path) -> None:
    """What it is told lies ready for it."""
    start = Start(environment)
    start.outcomes.put_nowait(FETCHED)
    async with start.run() as run:
        await run.line("engine start: download took")
        await asyncio.to_thread(lambda: gate.open("w").close())
        assert await run.supervisor.wait_until_decided() is EngineState.READY
        assert phases(run) == ["download", "import", "warm-up /v1/completions"]


async def test_the_start_deadline_does_not_count_the_download(environment: dict[str, str]) -> None:
    """A quarter of an hour of it changes nothing."""
    start = Start(environment)
    start.process.spawned_at -= 900
    start.outcomes.put_nowait(FETCHED)
    async with start.run() as run:
        assert await run.supervisor.wait_until_decided() is EngineState.READY
        assert run.supervisor.timeline.startswith("90")


@pytest.mark.parametrize(
    ("failure", "state"), [(GATED, EngineState.REFUSING), (NO_ROOM, EngineState.GONE)], ids=["settings", "host"]
)
async def test_a_download_in_vain_ends_the_engine_at_once(
    environment: dict[str, str], failure: Diagnosis, state: EngineState
) -> None:
    """Before anyone is told why."""
    start = Start(environment)
    async with start.run() as run:
        await run.line(IMPORTED)
        pids = start.processes
        start.outcomes.put_nowait(failure)
        assert await run.supervisor.wait_until_decided() is state
        assert start.left(pids) == []
        with pytest.raises(EngineUnavailable, match="org/parrot"):
            await run.get("/health")


async def test_a_download_that_is_tried_again_keeps_the_engine(environment: dict[str, str]) -> None:
    """It goes on waiting."""
    start = Start(environment)
    async with start.run() as run:
        await run.line(IMPORTED)
        pids = start.processes
        for outcome in (UNREACHABLE, UNREACHABLE, FETCHED):
            start.outcomes.put_nowait(outcome)
        assert await run.supervisor.wait_until_decided() is EngineState.READY
        assert (start.asked, start.processes) == (3, pids)


async def test_a_hub_that_cannot_be_reached_is_left_in_the_end(environment: dict[str, str]) -> None:
    """After all tries, which are more than the relaunches that a dead engine gets."""
    start = Start(environment, Backoff(0.01, 0.01, total_s=0.055))
    async with start.run() as run:
        for _ in range(6):
            start.outcomes.put_nowait(UNREACHABLE)
        assert await run.supervisor.wait_until_decided() is EngineState.GONE
        assert start.asked == 6


async def test_a_stop_ends_the_pause_between_two_tries(environment: dict[str, str]) -> None:
    """At once."""
    start = Start(environment, Backoff(first_s=15.0))
    async with start.run() as run:
        start.outcomes.put_nowait(UNREACHABLE)
        await start.downloading.wait()
        await run.supervisor.stop()
        assert await run.supervisor.wait_until_decided() is EngineState.STOPPED


@pytest.mark.parametrize(
    ("deadline_s", "pauses"),
    [(400, [2, 4, 8, 16, 30, 30, 30]), (20, [2, 4, 8]), (1, [])],
)
def test_the_tries_are_spread_over_two_minutes_and_no_longer_than_the_start_may_take(
    deadline_s: float, pauses: list[float]
) -> None:
    """The first soon, as most failures are short."""
    assert list(Backoff().pauses(deadline_s)) == pauses


@pytest.mark.parametrize("imported", [False, True], ids=["while it imports", "while it waits"])
async def test_a_stop_during_the_download_leaves_nothing(
    environment: dict[str, str], gate: Path, imported: bool
) -> None:
    """In order, and within the test's time."""
    if imported:
        del environment["FAKE_VLLM_GATE"]
    start = Start(environment)
    async with start.run() as run:
        with ExitStack() as importing:
            if imported:
                await run.line(IMPORTED)
            else:
                importing.enter_context(await asyncio.to_thread(gate.open, "w"))
            pids = start.processes
            await run.supervisor.stop()
            assert await run.supervisor.wait_until_decided() is EngineState.STOPPED
            assert start.left(pids) == []


async def test_an_engine_that_dies_while_it_waits_is_started_anew(environment: dict[str, str]) -> None:
    """After the download, and the plain way; should that die too, the diagnosis is its own."""
    start = Start({**environment, "FAKE_VLLM_DIES": "3"})
    async with start.run() as run:
        await start.downloading.wait()
        assert await start.process.wait() == 3
        assert not start.directory.exists()
        start.outcomes.put_nowait(FETCHED)
        assert await run.supervisor.wait_until_decided() is EngineState.READY
        await run.line("argv: vllm serve /cache/snapshots/0123")
    assert run.states == [EngineState.READY, EngineState.STOPPED]


async def test_arguments_that_the_pipe_cannot_hold_go_the_plain_way(environment: dict[str, str]) -> None:
    """The worker never blocks on a pipe: the engine is started anew with them."""
    start = Start(environment)
    start.outcomes.put_nowait(replace(FETCHED, arguments=("--chat-template", "x" * 100_000)))
    async with start.run() as run:
        assert await run.supervisor.wait_until_decided() is EngineState.READY
        assert not start.directory.exists()


def test_a_worker_that_dies_takes_the_waiting_engine_with_it(environment: dict[str, str]) -> None:
    """As it does any engine; and without its guard, the engine ends by itself."""
    process = spawn(SETTINGS, environment, waiting=True)
    pids = [process.pid, *descendants(process.pid)]
    process.abandon()
    process.wait_ended()
    assert [pid for pid in pids if read_stat(pid)] == []
    reader, writer = os.pipe()
    command = engine_argv(SETTINGS, "/no/socket", reader)
    orphan = subprocess.Popen(command, env=environment, pass_fds=(reader,), stderr=subprocess.PIPE)
    os.close(reader)
    os.close(writer)
    assert orphan.communicate(timeout=10)[1] == b"the worker ended before it sent the engine's arguments\n"
    assert orphan.returncode == 1
