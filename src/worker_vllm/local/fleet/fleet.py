"""The workers of one endpoint as processes: the scaling policy is asked ten times a second, and obeyed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from worker_vllm.errors import RequestError, WorkerError
from worker_vllm.gateway.fleet.fleet_control import FleetEvent, WorkerOperation, WorkerView, unknown_worker
from worker_vllm.gateway.fleet.scaling import ScalableWorker, Scaler, ScalingPolicy
from worker_vllm.local.fleet.endpoints import FleetEndpoint
from worker_vllm.local.fleet.member import Member
from worker_vllm.local.fleet.restarts import RESTARTS, Restarts
from worker_vllm.local.fleet.worker_process import STOP_WAIT_S, WorkerProcess, WorkersFailed
from worker_vllm.local.start_progress import read_line

TICK_S = 0.1
RESTART_PAUSE_S = 1.0
KEPT_EVENTS = 200
DRAIN_TIMEOUT_S = 5.0


class ExitOutcome(Enum):
    """What a worker's exit means for a restart."""

    RETIRED = "it asked to be replaced"
    LOST = "a new process may succeed"
    CANNOT_SERVE = "a new process would fail for the same reason"


@dataclass(frozen=True, slots=True)
class FleetCallbacks:
    """Callbacks of the fleet's owner.

    `exited(id, status)` returns what the exit means; CANNOT_SERVE ends the fleet with WorkersFailed.
    """

    line: Callable[[str, str], None]
    exited: Callable[[str, int], ExitOutcome]
    message: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class WorkerLaunch:
    """How a worker is started: the command, and its environment but for the endpoint's variables."""

    command: Sequence[str]
    environment: Mapping[str, str]
    prefix: str = "worker"  # of the workers' ids
    init_timeout_s: float = 420.0

    @property
    def drain_timeout_s(self) -> float:
        """How long the worker takes to finish what it holds."""
        try:
            return float(self.environment.get("DRAIN_TIMEOUT") or DRAIN_TIMEOUT_S)
        except ValueError:
            return DRAIN_TIMEOUT_S


class Fleet:
    """Starts, follows and ends the workers of one endpoint. Its owner runs `run` and calls `stop`, then `kill`."""

    def __init__(
        self,
        endpoint: FleetEndpoint,
        policy: ScalingPolicy,
        launch: WorkerLaunch,
        callbacks: FleetCallbacks,
        clock: Callable[[], float],
    ) -> None:
        self.endpoint = endpoint
        self.events: deque[FleetEvent] = deque(maxlen=KEPT_EVENTS)
        self._scaler = Scaler(policy)
        self._wanted = policy.min_workers
        self._launch = launch
        self._callbacks = callbacks
        self._clock = clock
        self._members: dict[str, Member] = {}
        self._restarts = Restarts()
        self._paused_until = 0.0
        self._stopping = asyncio.Event()
        self._tasks = asyncio.TaskGroup()

    async def run(self) -> None:
        """Keep as many workers as the policy wants until `stop`. Raises WorkersFailed when none can serve."""
        async with self._tasks:
            while not self._stopping.is_set():
                self._observe()
                if self._clock() >= self._paused_until:
                    self._scale()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await self._stopping.wait()

    async def stop(self) -> None:
        """Send SIGTERM to every worker and wait for the exits; start no more."""
        self._stopping.set()
        for member in self._members.values():
            member.ending = member.ending or "the gateway ends"
        await asyncio.gather(*(member.process.stop(STOP_WAIT_S) for member in list(self._members.values())))

    def kill(self) -> None:
        """Kill every worker; start no more."""
        self._stopping.set()
        for member in self._members.values():
            member.process.kill()

    def find(self, worker_id: str) -> Member | None:
        """The worker, None for an id that is not of this fleet."""
        return self._members.get(worker_id)

    def views(self) -> list[WorkerView]:
        """All workers now, as the workers API shows them."""
        self._observe()
        now, limit_s = self._clock(), self._launch.init_timeout_s
        return [member.view(self.endpoint, now, limit_s) for member in self._members.values()]

    def scaling(self) -> dict[str, object]:
        """Policy, load and wanted workers, as the workers API shows them."""
        found = self._scaler.to_json(self.endpoint.load(), self._scalable(), self._wanted)
        return {"endpoint": self.endpoint.name, "kind": self.endpoint.kind, **found}

    def operate(self, worker_id: str, operation: WorkerOperation) -> None:
        """Begin an operation. Raises NotFound, and RequestError 409 in a state that forbids it."""
        member = self._members.get(worker_id)
        if member is None:
            raise unknown_worker(worker_id)
        view = member.view(self.endpoint, self._clock(), self._launch.init_timeout_s)
        if operation not in view.operations:
            permitted = ", ".join(view.operations)
            raise RequestError(f'worker "{worker_id}" is {view.state}: expected one of {permitted}', status=409)
        match operation:
            case WorkerOperation.DRAIN:
                self._drain(member, "asked for")
            case WorkerOperation.KILL:
                member.ending = "killed"
                self._record(member, "killed", "asked for")
                member.process.kill()
            case WorkerOperation.FREEZE:
                self._freeze(member, "asked for")
            case WorkerOperation.THAW:
                self.thaw(member, "asked for")

    def thaw(self, member: Member, cause: str) -> None:
        """Continue a frozen worker."""
        if not member.frozen:
            return
        member.frozen, member.resumable, member.ready, member.waiting_since = False, False, False, self._clock()
        self._record(member, "thawed", cause)
        self.endpoint.thaw(member.id)
        member.process.thaw()

    def _observe(self) -> None:
        """Note which workers have become ready, and how long that took."""
        now = self._clock()
        for member in self._members.values():
            if member.ready or member.frozen or not self.endpoint.ready(member.id):
                continue
            member.ready = True
            took_s = now - member.waiting_since
            if member.cold_start_s is None:
                member.cold_start_s = took_s
            self._record(member, "ready", f"after {took_s:.2f} s")

    def _scale(self) -> None:
        decided = self._scaler.decide(self.endpoint.load(), self._scalable(), self._clock())
        self._wanted = decided.wanted
        for _ in range(decided.start):
            resumed = next((member for member in self._members.values() if member.resumable), None)
            if resumed is not None:
                self.thaw(resumed, "the load needs it")
            else:
                self._start()
        for worker_id in decided.stop:
            member = self._members[worker_id]
            if self._scaler.policy.flashboot:
                self._freeze(member, "idle")
                member.resumable = True
            else:
                self._drain(member, "idle")

    def _scalable(self) -> list[ScalableWorker]:
        return [
            ScalableWorker(member.id, self.endpoint.idle_since(member.id) if member.ready else None)
            for member in self._members.values()
            if member.counts
        ]

    def _start(self) -> None:
        taken = {member.number for member in self._members.values()}
        number = next(number for number in range(1, len(taken) + 2) if number not in taken)
        worker_id = self._restarts.next_id(self._launch.prefix, number)
        environment = {**self._launch.environment, **self.endpoint.variables(worker_id)}
        process = WorkerProcess(self._launch.command, environment, lambda text: self._on_line(worker_id, text))
        now = self._clock()
        member = Member(worker_id, number, process, now, now)
        self._members[worker_id] = member
        member.url = self.endpoint.started(worker_id)
        self._record(member, "started")
        self._tasks.create_task(self._follow(member), name=worker_id)

    async def _follow(self, member: Member) -> None:
        try:
            code = await member.process.run()
            outcome = self._callbacks.exited(member.id, code)
        finally:
            del self._members[member.id]
            self.endpoint.ended(member.id)
        self._record(member, "ended", member.ending or f"status {code}")
        if self._stopping.is_set() or member.ending:
            return
        if outcome is ExitOutcome.CANNOT_SERVE:
            raise WorkersFailed(f"{member.id} ended with status {code} before it could serve")
        now = self._clock()
        if outcome is ExitOutcome.LOST and not self._restarts.allows(member.number, now):
            raise WorkersFailed(f"{member.id} ended with status {code}, after {RESTARTS} restarts within ten minutes")
        self._paused_until = now + RESTART_PAUSE_S
        again = len(self._scalable()) < self._scaler.policy.min_workers
        self._callbacks.message(f"{member.id} ended with status {code}" + ("; starting another" if again else ""))

    def _drain(self, member: Member, cause: str) -> None:
        member.draining = True
        self._record(member, "draining", cause)
        self.endpoint.drain(member.id)
        self._tasks.create_task(self._end(member, cause), name=f"drain {member.id}")

    async def _end(self, member: Member, cause: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._launch.drain_timeout_s):
                await self.endpoint.drained(member.id)
        member.ending = member.ending or f"drained: {cause}"
        await member.process.stop(self._launch.drain_timeout_s + STOP_WAIT_S)

    def _freeze(self, member: Member, cause: str) -> None:
        member.frozen = True
        member.process.freeze()
        self.endpoint.freeze(member.id)
        self._record(member, "frozen", cause)

    def _on_line(self, worker_id: str, text: str) -> None:
        member = self._members.get(worker_id)
        if member is not None:
            line = read_line(text)
            member.phase = line.phase or member.phase
            member.log.add(line, self._clock())
        self._callbacks.line(worker_id, text)

    def _record(self, member: Member, what: str, cause: str = "") -> None:
        self.events.append(FleetEvent(self._clock(), member.id, what, cause))


def first_worker_error(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of ours in a group, at any depth; the group itself where there is none."""
    for one in failed.exceptions:
        error = first_worker_error(one) if isinstance(one, BaseExceptionGroup) else one
        if isinstance(error, WorkerError):
            return error
    return failed
