"""The engine over all its launches: STARTING → READY → STARTING …, or REFUSING, or GONE; owned by `run`.

Knows nothing of jobs. It serves requests while READY; otherwise they raise EngineUnavailable with the diagnosis.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from worker_vllm.engine.diagnosis.diagnose import diagnose
from worker_vllm.engine.diagnosis.types import Diagnosis, Scope
from worker_vllm.engine.interface import EngineFailure, EngineRequest, EngineResponse, EngineState
from worker_vllm.engine.process.child_process import spawn
from worker_vllm.engine.records.events import EngineObserver, Unobserved
from worker_vllm.engine.records.launches import Launches
from worker_vllm.engine.supervision.engine_run import EngineConnection, EngineRun
from worker_vllm.engine.supervision.model_download import Provide, download, provide
from worker_vllm.engine.supervision.relaunch_policy import Action, RelaunchPolicy
from worker_vllm.engine.supervision.startup import StartPlan, spawn_refusal
from worker_vllm.engine.supervision.state_changes import StateChanges
from worker_vllm.engine.supervision.supervised_response import SupervisedResponse
from worker_vllm.errors import EngineStalled, EngineUnavailable, WorkerError
from worker_vllm.settings.types import EngineSettings

logger = logging.getLogger(__name__)

EXIT_NOTICE_S = 0.8  # how long a failed response waits for the diagnosis
IN_FLIGHT = "this request was in flight then and may be the cause: do not send it again as it is"
ENGINE_DEAD = 500  # the status of vLLM's server when it notices before this worker that its engine has died
DECIDED = (EngineState.READY, EngineState.REFUSING, EngineState.GONE, EngineState.STOPPED)


class Supervisor:
    """A ManagedEngine that spawns its engine and relaunches it. Cancelling `run` stops the engine as `stop` does."""

    def __init__(
        self,
        plan: StartPlan,
        connect: Callable[[str], EngineConnection],
        provide: Provide = provide,
        observer: EngineObserver | None = None,
    ) -> None:
        self._plan = plan
        self._settings = plan.settings
        self._connect = connect
        self._provide = provide
        self._process = plan.process
        self._run: EngineRun | None = None
        self._policy = RelaunchPolicy()
        self._diagnosis: Diagnosis | None = None
        self._launches = Launches(observer or Unobserved(), plan.facts)
        self._start_took_s: float | None = None
        self._stopping = asyncio.Event()
        self._states = StateChanges(EngineState.STARTING)
        self.on_report: Callable[[bytes], None] = lambda report: None  # gets the reports of the engine's processes
        self.ends: dict[str, int] = {}  # of the engine, by cause

    @property
    def state(self) -> EngineState:
        """See `ManagedEngine.state`."""
        return self._states.current

    @property
    def diagnosis(self) -> str:
        """Why the engine does not serve, for callers; empty while it serves or starts."""
        return self._diagnosis.sentence if self._diagnosis else ""

    @property
    def failure(self) -> EngineFailure | None:
        """See `ManagedEngine.failure`."""
        return EngineFailure(self._diagnosis.cause, self._diagnosis.sentence) if self._diagnosis else None

    @property
    def arguments(self) -> tuple[str, ...]:
        """The engine's arguments, including those that relaunches have added."""
        return self._settings.arguments

    @property
    def loader_arguments(self) -> tuple[str, ...]:
        """The loader arguments that the worker chose; empty where it chose none, or has withdrawn them."""
        return self._settings.loader_arguments

    @property
    def timeline(self) -> str:
        """The last start's phases in one line; empty before the first."""
        return self._run.timeline.summary() if self._run else ""

    @property
    def last_start(self) -> tuple[float, list[tuple[str, float]]]:
        """Duration of the last start that became ready, 0 before, and the phases of the newest launch."""
        return self._start_took_s or 0.0, list(self._run.timeline.phases) if self._run else []

    @property
    def socket(self) -> str:
        """Path of the Unix socket of the newest launch; empty before the first."""
        return self._run.socket if self._run else ""

    @property
    def start_progress(self) -> tuple[str, float, float | None]:
        """The newest launch: its phase, the seconds since its spawn, how long an earlier start took (None: none)."""
        phase, elapsed_s = (self._run.timeline.phase, self._run.elapsed_s) if self._run else ("download", 0.0)
        return phase, elapsed_s, self._start_took_s

    @property
    def stalled(self) -> bool:
        """Whether the engine was killed because it made no progress, and has not been ready since."""
        by_diagnosis = self._diagnosis is not None and self._diagnosis.cause == "stalled"
        return by_diagnosis or (self._run is not None and self._run.stalled)

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The end of the engine's log."""
        return self._run.engine_exit.lines if self._run else ()

    async def run(self) -> None:
        """Start the engine unless the plan has spawned it; relaunch it while that can help; leave nothing of it.

        Returns when it was stopped or is GONE; while REFUSING it waits for `stop`, because jobs still get the
        diagnosis. An engine that the preflight refused is never started, and missing files are downloaded first.
        """
        try:
            run = await self._prepare()
            while self.state is EngineState.STARTING and not self._stopping.is_set():
                run = run or self._try_launch()
                if run is None:
                    break
                await self._supervise(run)
                if self._stopping.is_set() or not self._decide_relaunch(run):
                    break
                run = None
            if self.state is EngineState.REFUSING:
                await self._stopping.wait()
        finally:
            if self._process is not None:  # spawned by the plan, and stopped before its first launch
                self._process.abandon()
                self._process.wait_ended()
            if self.state is not EngineState.GONE:
                self._states.enter(EngineState.STOPPED)

    async def wait_until_decided(self) -> EngineState:
        """Wait while the engine is STARTING; returns the state that follows."""
        return await self.until(*DECIDED)

    async def until(self, *states: EngineState) -> EngineState:
        """Wait until the engine is in one of the states; returns it."""
        return await self._states.until(*states)

    async def changed(self) -> EngineState:
        """Wait for the next change of state; returns the new one."""
        return await self._states.changed()

    async def stop(self) -> None:
        """End the engine in bounded time; `run()` then returns."""
        self._stopping.set()
        if self._run is not None:
            await self._run.stop()

    async def request(self, request: EngineRequest) -> EngineResponse:
        """See `Engine.request`; waits for a starting engine; raises EngineUnavailable when it cannot serve."""
        if await self.wait_until_decided() is not EngineState.READY or self._run is None:
            raise EngineUnavailable(self.diagnosis or "the worker is stopping")
        ended = self._launches.in_flight.add(request)
        try:
            return await self._send(self._run, request, ended)
        except BaseException:
            ended()
            raise

    async def _send(self, run: EngineRun, request: EngineRequest, ended: Callable[[], None]) -> EngineResponse:
        """Send a request to a READY engine; `ended` is called at the end of the response."""
        run.pending.start()
        try:
            response = await run.connection.request(request)
        except EngineUnavailable as error:
            raise await self._explain(run, error) from error
        finally:
            run.pending.end()
        if response.status >= 500:
            health_check = run.check_health()
            if response.status == ENGINE_DEAD:
                await asyncio.wait([health_check], timeout=EXIT_NOTICE_S)
                if run.failing:
                    response.close()
                    raise await self._explain(run, EngineUnavailable("the engine is shutting down"))
        return SupervisedResponse(response, run.pending, lambda error: self._explain(run, error), ended)

    async def _prepare(self) -> EngineRun | None:
        """Download missing files; enter REFUSING or GONE where the download or the preflight failed.

        Returns the run of an engine that was spawned before the download and has received its arguments.
        """
        outcome: EngineRun | Diagnosis | None = self._plan.refusal
        if outcome is None and self._plan.found is not None:
            outcome = await self._download()
        if not isinstance(outcome, Diagnosis):
            return outcome
        self._give_up(outcome)
        return None

    async def _download(self) -> EngineRun | Diagnosis | None:
        """Download the missing files, while an engine that the plan has spawned imports its modules.

        That engine is killed when the download fails. Returns its run, a diagnosis, or None for another launch.
        """
        waiting = self._launch() if self._process is not None else None
        sent = False
        self._launches.download_begins()
        try:
            given = await download(self._plan, self._provide, self._policy, self._stopping)
            if not isinstance(given, EngineSettings) or self._stopping.is_set():
                return given if isinstance(given, Diagnosis) else None
            self._settings = given
            self._launches.download_ended()
            if waiting is not None:
                sent = waiting.send_arguments(given)
            return waiting if sent else None
        finally:
            if waiting is not None and not sent:
                await waiting.discard()

    def _give_up(self, diagnosis: Diagnosis) -> None:
        """Enter REFUSING where the settings are at fault, else GONE."""
        self._diagnosis = diagnosis
        logger.error("%s", diagnosis.report)
        self._states.enter(EngineState.REFUSING if diagnosis.scope is Scope.SETTINGS else EngineState.GONE)

    def _try_launch(self) -> EngineRun | None:
        """The next launch; None where the engine cannot be spawned, which ends the relaunches."""
        try:
            return self._launch()
        except OSError as error:
            self._give_up(spawn_refusal(error))
            return None

    def _launch(self) -> EngineRun:
        """Launch the engine, or adopt the process that the plan has spawned. Raises OSError."""
        if self._diagnosis is not None:
            self._launches.relaunching(self._settings, self._plan.environment)
        process, self._process = self._process or spawn(self._settings, self._plan.environment), None
        connection = self._connect(f"unix:{process.socket}")
        self._run = EngineRun(self._settings, process, connection, self.on_report)
        self._states.enter(EngineState.STARTING)
        return self._run

    async def _supervise(self, run: EngineRun) -> None:
        """Run one launch to its end; callers get the diagnosis as soon as it is known."""
        running = asyncio.create_task(run.run(lambda: self._on_ready(run)), name="engine-run")
        try:
            await run.exited.wait()
            if not self._stopping.is_set():
                self._diagnosis = diagnose(run.engine_exit)
                self.ends[self._diagnosis.cause] = self.ends.get(self._diagnosis.cause, 0) + 1
                self._states.enter(EngineState.STARTING)
                logger.error("%s", self._diagnosis.report)
                self._launches.died(run, self._settings, self._diagnosis)
            await asyncio.wait([running])
        finally:
            running.cancel()
            await asyncio.wait([running])
        running.result()

    def _decide_relaunch(self, run: EngineRun) -> bool:
        """Whether to launch the engine again, then with which settings; else enter REFUSING or GONE."""
        diagnosis = diagnose(run.engine_exit)
        self._diagnosis = diagnosis
        decision = self._policy.decide(diagnosis, self._settings, run.healthy_s)
        if decision.action is Action.RELAUNCH:
            logger.warning("relaunching the engine%s: %s", decision.changes(self._settings), diagnosis.cause)
            self._settings = decision.onto(self._settings)
            return True
        self._states.enter(EngineState.REFUSING if decision.action is Action.REFUSE else EngineState.GONE)
        return False

    def _on_ready(self, run: EngineRun) -> None:
        self._diagnosis = None
        self._start_took_s = took_s = run.elapsed_s
        self._states.enter(EngineState.READY)
        self._launches.ready(run, self._settings, took_s)

    async def _explain(self, run: EngineRun, error: WorkerError) -> WorkerError:
        """The diagnosis as an error, if the engine has died or is about to; else the error unchanged."""
        run.check_health()
        try:
            async with asyncio.timeout(EXIT_NOTICE_S):
                await run.exited.wait()
        except TimeoutError:
            if not run.failing:
                return error
        if self._stopping.is_set():
            return EngineUnavailable("the worker is stopping")
        sentence = diagnose(run.engine_exit).sentence
        return EngineStalled(f"{sentence}; {IN_FLIGHT}") if run.stalled else EngineUnavailable(sentence)
