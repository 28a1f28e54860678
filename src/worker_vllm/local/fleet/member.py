"""One worker of a fleet: its process and its state."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker_vllm.gateway.fleet.fleet_control import WorkerOperation, WorkerState, WorkerView
from worker_vllm.local.fleet.endpoints import FleetEndpoint
from worker_vllm.local.fleet.worker_log import WorkerLog
from worker_vllm.local.fleet.worker_process import WorkerProcess

PERMITTED = {
    WorkerState.FROZEN: (WorkerOperation.THAW, WorkerOperation.KILL),
    WorkerState.DRAINING: (WorkerOperation.KILL,),
}
OTHERWISE = (WorkerOperation.DRAIN, WorkerOperation.KILL, WorkerOperation.FREEZE)


@dataclass(eq=False, slots=True)
class Member:
    """A worker from its start to its exit. Times are seconds of the fleet's clock."""

    id: str
    number: int  # of its place in the fleet
    process: WorkerProcess
    started_at: float
    waiting_since: float  # for it to be ready: since its start, or since it was thawed
    cold_start_s: float | None = None
    ready: bool = False
    draining: bool = False
    frozen: bool = False
    resumable: bool = False  # frozen by the scaling policy, which may thaw it; what was asked for stays
    ending: str = ""  # why it was asked to end; empty: an exit is a loss
    phase: str = ""
    url: str = ""
    log: WorkerLog = field(default_factory=WorkerLog)

    @property
    def counts(self) -> bool:
        """Whether the scaling policy counts it: it starts or serves."""
        return not (self.draining or self.frozen or self.ending)

    def state(self, endpoint: FleetEndpoint, now: float, init_timeout_s: float) -> WorkerState:
        """The worker's state."""
        if self.frozen:
            return WorkerState.FROZEN
        if self.draining or self.ending:
            return WorkerState.DRAINING
        if endpoint.unhealthy(self.id) or (not self.ready and now - self.waiting_since > init_timeout_s):
            return WorkerState.UNHEALTHY
        if not self.ready:
            return WorkerState.INITIALIZING
        return WorkerState.RUNNING if endpoint.jobs(self.id) else WorkerState.IDLE

    def view(self, endpoint: FleetEndpoint, now: float, init_timeout_s: float) -> WorkerView:
        """What the workers API shows of it."""
        state = self.state(endpoint, now, init_timeout_s)
        idle_since = endpoint.idle_since(self.id) if state is WorkerState.IDLE else None
        return WorkerView(
            id=self.id,
            endpoint=endpoint.name,
            kind=endpoint.kind,
            state=state,
            phase=self.phase,
            jobs=endpoint.jobs(self.id),
            pid=self.process.pid,
            started_at=self.started_at,
            cold_start_s=self.cold_start_s,
            idle_s=None if idle_since is None else now - idle_since,
            url=self.url,
            operations=PERMITTED.get(state, OTHERWISE),
        )
