"""The engine over all its lives: STARTING → READY → STARTING …, or REFUSING, or GONE; one owner, `run()`.

Does not know what jobs are. It answers requests while READY; otherwise they end with EngineUnavailable, whose message
is the diagnosis.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from worker_vllm.engine.diagnosis.diagnose import diagnose
from worker_vllm.engine.diagnosis.types import Diagnosis, Scope
from worker_vllm.engine.interface import EngineRequest, EngineResponse, EngineState
from worker_vllm.engine.process.child_process import spawn
from worker_vllm.engine.supervision.engine_run import EngineConnection, EngineRun
from worker_vllm.engine.supervision.model_download import Provide, download, provide
from worker_vllm.engine.supervision.relaunch_policy import Action, RelaunchPolicy
from worker_vllm.engine.supervision.startup import StartPlan
from worker_vllm.engine.supervision.supervised_response import SupervisedResponse
from worker_vllm.errors import EngineStalled, EngineUnavailable, WorkerError
from worker_vllm.settings.types import EngineSettings

logger = logging.getLogger(__name__)

DEATH_NOTICE_S = 0.8  # how long a broken answer waits for the reason
IN_FLIGHT = "this request was in flight then and may be the cause: do not send it again as it is"
DYING = 500  # how vLLM's server answers, in words of its own, when it notices first that its engine has died


DECIDED = (EngineState.READY, EngineState.REFUSING, EngineState.GONE, EngineState.STOPPED)


class Supervisor:
    """The supervised engine as an Engine. `run()` owns its lives; cancel it or call `stop()` to end the engine."""

    def __init__(
        self,
        beginning: StartPlan,
        connect: Callable[[str], EngineConnection],
        provide: Provide = provide,
    ) -> None:
        self._beginning = beginning
        self._settings = beginning.settings
        self._connect = connect
        self._provide = provide
        self._process = beginning.process
        self._life: EngineRun | None = None
        self._policy = RelaunchPolicy()
        self._diagnosis: Diagnosis | None = None
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self.state = EngineState.STARTING

    @property
    def diagnosis(self) -> str:
        """Why the engine does not serve, for a caller; empty while nothing is known against it."""
        return self._diagnosis.sentence if self._diagnosis else ""

    @property
    def arguments(self) -> tuple[str, ...]:
        """The engine's arguments, with what relaunches have added."""
        return self._settings.arguments

    @property
    def loader_arguments(self) -> tuple[str, ...]:
        """Our own choice of a loader; empty where there is none, or where it was taken back."""
        return self._settings.loader_arguments

    @property
    def timeline(self) -> str:
        """The last start's phases in one line; empty before the first."""
        return self._life.timeline.summary() if self._life else ""

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The end of the engine's log."""
        return self._life.ending.lines if self._life else ()

    async def run(self) -> None:
        """Start the engine if nobody did yet; relaunch it while that can help; leave nothing of it.

        Returns when it was stopped or is GONE; while REFUSING it goes on, so that somebody is there to tell why.
        What the preflight refused is not started at all, and what it found missing is downloaded first.
        """
        try:
            begun = await self._prepare()
            while self.state is EngineState.STARTING and not self._stopping.is_set():
                life, begun = begun or self._begin(), None
                await self._follow(life)
                if self._stopping.is_set() or not self._relaunch(life):
                    break
            if self.state is EngineState.REFUSING:
                await self._stopping.wait()
        finally:
            if self._process is not None:  # spawned, and stopped before it was taken over
                self._process.abandon()
                self._process.wait_ended()
            if self.state is not EngineState.GONE:
                self._enter(EngineState.STOPPED)

    async def wait_until_decided(self) -> EngineState:
        """Wait until the engine is READY, or until it is known that it never will be; returns that state."""
        return await self.until(*DECIDED)

    async def until(self, *states: EngineState) -> EngineState:
        """Wait until the engine is in one of the states; returns it."""
        while self.state not in states:
            await self._changed.wait()
        return self.state

    async def changed(self) -> EngineState:
        """Wait for the next change of state; returns the new one."""
        await self._changed.wait()
        return self.state

    async def stop(self) -> None:
        """End the engine in bounded time; `run()` then returns."""
        self._stopping.set()
        if self._life is not None:
            await self._life.stop()

    async def request(self, request: EngineRequest) -> EngineResponse:
        """See `Engine.request`; waits for a starting engine; raises EngineUnavailable when it cannot serve."""
        if await self.wait_until_decided() is not EngineState.READY or self._life is None:
            raise EngineUnavailable(self.diagnosis or "the worker is stopping")
        life = self._life
        life.waits.begin()
        try:
            response = await life.connection.request(request)
        except EngineUnavailable as error:
            raise await self._explain(life, error) from error
        finally:
            life.waits.end()
        if response.status >= 500:
            doubted = life.doubt()
            if response.status == DYING:
                await asyncio.wait([doubted], timeout=DEATH_NOTICE_S)
                if life.failing:
                    response.close()
                    raise await self._explain(life, EngineUnavailable("the engine is ending"))
        return SupervisedResponse(response, life.waits, lambda error: self._explain(life, error))

    async def _prepare(self) -> EngineRun | None:
        """Have downloaded what is not on disk; refuse or leave where that, or the preflight, says so.

        Returns the engine's life when it was spawned before the download and now knows what to serve.
        """
        outcome: EngineRun | Diagnosis | None = self._beginning.refusal
        if outcome is None and self._beginning.found is not None:
            outcome = await self._download()
        if not isinstance(outcome, Diagnosis):
            return outcome
        self._diagnosis = outcome
        logger.error("%s", outcome.report)
        self._enter(EngineState.REFUSING if outcome.scope is Scope.SETTINGS else EngineState.GONE)
        return None

    async def _download(self) -> EngineRun | Diagnosis | None:
        """The download; an engine that was spawned for it imports meanwhile, and ends at once if it is in vain."""
        waiting = self._begin() if self._process is not None else None
        told = False
        try:
            given = await download(self._beginning, self._provide, self._policy, self._stopping)
            if not isinstance(given, EngineSettings) or self._stopping.is_set():
                return given if isinstance(given, Diagnosis) else None
            self._settings = given
            if waiting is not None:
                told = waiting.tell(given)
            return waiting if told else None
        finally:
            if waiting is not None and not told:
                await waiting.discard()

    def _begin(self) -> EngineRun:
        process, self._process = self._process or spawn(self._settings, self._beginning.environment), None
        self._life = EngineRun(self._settings, process, self._connect(f"unix:{process.socket}"))
        self._enter(EngineState.STARTING)
        return self._life

    async def _follow(self, life: EngineRun) -> None:
        """One life to its end; the cause is told as soon as it is known, before the last process is gone."""
        living = asyncio.create_task(life.live(self._on_ready), name="engine-life")
        try:
            await life.over.wait()
            if not self._stopping.is_set():
                self._diagnosis = diagnose(life.ending)
                self._enter(EngineState.STARTING)
                logger.error("%s", self._diagnosis.report)
            await asyncio.wait([living])
        finally:
            living.cancel()
            await asyncio.wait([living])
        living.result()

    def _relaunch(self, life: EngineRun) -> bool:
        """Whether there will be another life, with which settings; the state says what follows otherwise."""
        diagnosis = diagnose(life.ending)
        self._diagnosis = diagnosis
        decision = self._policy.decide(diagnosis, self._settings, life.healthy_s)
        if decision.action is Action.RELAUNCH:
            logger.warning("relaunching the engine%s: %s", decision.changes(self._settings), diagnosis.cause)
            self._settings = decision.onto(self._settings)
            return True
        self._enter(EngineState.REFUSING if decision.action is Action.REFUSE else EngineState.GONE)
        return False

    def _on_ready(self) -> None:
        assert self._life is not None
        self._diagnosis = None
        self._enter(EngineState.READY)
        logger.info("the engine is ready after %s", self._life.timeline.summary())

    def _enter(self, state: EngineState) -> None:
        if state is not self.state:
            self.state = state
            self._changed.set()
            self._changed = asyncio.Event()

    async def _explain(self, life: EngineRun, error: WorkerError) -> WorkerError:
        """The diagnosis, if the engine turns out to be dead; else the error as it was."""
        life.doubt()
        try:
            async with asyncio.timeout(DEATH_NOTICE_S):
                await life.over.wait()
        except TimeoutError:
            if not life.failing:
                return error
        if self._stopping.is_set():
            return EngineUnavailable("the worker is stopping")
        sentence = diagnose(life.ending).sentence
        return EngineStalled(f"{sentence}; {IN_FLIGHT}") if life.stalled else EngineUnavailable(sentence)
