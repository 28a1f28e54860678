"""An engine spawned before its model is on disk: it imports first, then gets its arguments or is stopped."""

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
from worker_vllm.engine.child.request_tag import MIDDLEWARE
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
    """A supervisor with a waiting engine, and a download that the test controls."""

    def __init__(self, environment: Mapping[str, str], backoff: Backoff = SOON) -> None:
        self.process: EngineProcess = spawn(SETTINGS, environment, waiting=True)
        self.outcomes: asyncio.Queue[EngineSettings | Diagnosis] = asyncio.Queue()
        self.asked = 0
        self.downloading = asyncio.Event()
        plan = StartPlan(SETTINGS, environment, process=self.process, found=FOUND, backoff=backoff)
        self.supervisor = Supervisor(plan, HttpEngine, self.provide)

    async def provide(self, *_: object) -> EngineSettings | Diagnosis:
        self.asked += 1
        self.downloading.set()
        return await self.outcomes.get()

    def run(self) -> AbstractAsyncContextManager[Supervised]:
        return followed(self.supervisor)

    @property
    def processes(self) -> list[int]:
        """The guard's id and those of its descendants."""
        return [self.process.pid, *descendants(self.process.pid)]

    @property
    def directory(self) -> Path:
        return Path(self.process.socket).parent

    def left(self, pids: list[int]) -> list[object]:
        """Which of these processes and of the launch directory still exist."""
        return [pid for pid in pids if read_stat(pid)] + [path for path in [self.directory] if path.exists()]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return with_fake_vllm(tmp_path / "fake")


@pytest.fixture
def gate(tmp_path: Path, environment: dict[str, str]) -> Path:
    """A FIFO on which the engine's imports block until the test closes it."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    environment["FAKE_VLLM_GATE"] = str(path)
    return path


def phases(run: Supervised) -> list[str]:
    """The phase names of the timeline, in order."""
    return [part.rsplit(" ", 1)[0] for part in run.supervisor.timeline.partition("(")[2].split(", ")]


async def test_it_imports_during_the_download_and_then_serves_the_arguments_sent(environment: dict[str, str]) -> None:
    """One process does both with the arguments sent; the timeline names the phases that overlapped."""
    start = Start(environment)
    async with start.run() as run:
        await run.line(IMPORTED)
        assert run.supervisor.state is EngineState.STARTING
        pids = start.processes
        start.outcomes.put_nowait(FETCHED)
        assert await run.supervisor.wait_until_decided() is EngineState.READY
        assert start.processes == pids
        argv = f"vllm serve /cache/snapshots/0123 --middleware {MIDDLEWARE} --uds {start.process.socket}"
        rest = "--served-model-name org/parrot --tokenizer /cache/tokenizer --disable-uvicorn-access-log"
        await run.line(f"argv: {argv} {rest}")
        assert phases(run) == ["import", "rest of the download", "warm-up /v1/completions"]
    assert run.states == [EngineState.READY, EngineState.STOPPED]
    assert start.left(pids) == []


async def test_a_download_quicker_than_the_imports_waits_for_nothing(environment: dict[str, str], gate: Path) -> None:
    """Its arguments are in the pipe already."""
    start = Start(environment)
    start.outcomes.put_nowait(FETCHED)
    async with start.run() as run:
        await run.line("engine start: download took")
        await asyncio.to_thread(lambda: gate.open("w").close())
        assert await run.supervisor.wait_until_decided() is EngineState.READY
        assert phases(run) == ["download", "import", "warm-up /v1/completions"]


async def test_the_start_deadline_does_not_count_the_download(environment: dict[str, str]) -> None:
    """A download of a quarter of an hour does not fail the start."""
    start = Start(environment)
    start.process.spawned_at -= 900
    start.outcomes.put_nowait(FETCHED)
    async with start.run() as run:
        assert await run.supervisor.wait_until_decided() is EngineState.READY
        assert run.supervisor.timeline.startswith("90")


@pytest.mark.parametrize(
    ("failure", "state"), [(GATED, EngineState.REFUSING), (NO_ROOM, EngineState.GONE)], ids=["settings", "host"]
)
async def test_a_failed_download_stops_the_engine_at_once(
    environment: dict[str, str], failure: Diagnosis, state: EngineState
) -> None:
    """Before the first job is answered with the cause."""
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
    """The engine keeps waiting for its arguments."""
    start = Start(environment)
    async with start.run() as run:
        await run.line(IMPORTED)
        pids = start.processes
        for outcome in (UNREACHABLE, UNREACHABLE, FETCHED):
            start.outcomes.put_nowait(outcome)
        assert await run.supervisor.wait_until_decided() is EngineState.READY
        assert (start.asked, start.processes) == (3, pids)


async def test_a_hub_that_cannot_be_reached_fails_the_start_in_the_end(environment: dict[str, str]) -> None:
    """After all retries, which are more than the relaunches of an exited engine."""
    start = Start(environment, Backoff(0.01, 0.01, total_s=0.055))
    async with start.run() as run:
        for _ in range(6):
            start.outcomes.put_nowait(UNREACHABLE)
        assert await run.supervisor.wait_until_decided() is EngineState.GONE
        assert start.asked == 6


async def test_a_stop_ends_the_backoff_between_two_tries(environment: dict[str, str]) -> None:
    """The stop does not wait for the next try."""
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
def test_retries_are_spread_over_two_minutes_within_the_start_deadline(
    deadline_s: float, pauses: list[float]
) -> None:
    """The first retry is early, as most failures are short."""
    assert list(Backoff().pauses(deadline_s)) == pauses


@pytest.mark.parametrize("imported", [False, True], ids=["while it imports", "while it waits"])
async def test_a_stop_during_the_download_leaves_nothing(
    environment: dict[str, str], gate: Path, imported: bool
) -> None:
    """Processes and directory are removed within the test's time limit."""
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


async def test_an_engine_that_exits_while_it_waits_is_relaunched(environment: dict[str, str]) -> None:
    """After the download, with its arguments on the command line."""
    start = Start({**environment, "FAKE_VLLM_DIES": "3"})
    async with start.run() as run:
        await start.downloading.wait()
        assert await start.process.wait() == 3
        assert not start.directory.exists()
        start.outcomes.put_nowait(FETCHED)
        assert await run.supervisor.wait_until_decided() is EngineState.READY
        await run.line("argv: vllm serve /cache/snapshots/0123")
    assert run.states == [EngineState.READY, EngineState.STOPPED]


async def test_arguments_larger_than_the_pipe_are_passed_by_a_relaunch(environment: dict[str, str]) -> None:
    """The worker never blocks on a pipe: it relaunches the engine with them on the command line."""
    start = Start(environment)
    start.outcomes.put_nowait(replace(FETCHED, arguments=("--chat-template", "x" * 100_000)))
    async with start.run() as run:
        assert await run.supervisor.wait_until_decided() is EngineState.READY
        assert not start.directory.exists()


def test_a_waiting_engine_exits_with_its_worker(environment: dict[str, str]) -> None:
    """The guard kills it; without a guard it exits when the pipe closes."""
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
