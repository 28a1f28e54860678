"""The gateway's options: defaults are RunPod's documented values; undocumented behaviour is an option too."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from worker_vllm.errors import RequestError
from worker_vllm.gateway.fleet.scaling import ScalerType, ScalingPolicy

MEGABYTE = 1_000_000


class GetBody(StrEnum):
    """The value of `openai_input` for a GET on the OpenAI routes; RunPod's value is not documented."""

    ABSENT = "absent"
    NULL = "null"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """Limits in bytes and counts; a request beyond them is refused, never queued."""

    run_bytes: int = 10 * MEGABYTE
    runsync_bytes: int = 20 * MEGABYTE
    result_bytes: int = 20 * MEGABYTE
    piece_bytes: int = MEGABYTE
    queued_jobs: int = 10_000
    held_bytes: int = 1_000 * MEGABYTE  # inputs, results and unread pieces of one endpoint together
    unread_bytes: int = 8 * MEGABYTE  # of one job's stream
    endpoints: int = 100


@dataclass(frozen=True, slots=True)
class WaitTimeouts:
    """How long a request may take to arrive, and how long it is held, in seconds."""

    head_s: float = 10.0  # for a request's head to arrive, from its first byte or from the connection's start
    body_s: float = 300.0  # for its body
    take_s: float = 20.0
    stop_s: float = 20.0
    stream_s: float = 5.0  # below the official client's 10 s read timeout
    runsync_s: float = 90.0
    longest_s: float = 300.0
    openai_s: float = 300.0
    openai_stream_s: float = 300.0


@dataclass(frozen=True, slots=True)
class JobPolicy:
    """Execution timeout, time to live and retention of jobs in seconds, and retries after a lost worker."""

    execution_timeout_s: float = 600.0
    ttl_s: float = 86_400.0
    keep_async_s: float = 1_800.0
    keep_sync_s: float = 60.0
    max_retries: int = 3
    timeout_fails: bool = False  # FAILED instead of TIMED_OUT when the execution timeout is over


@dataclass(frozen=True, slots=True)
class FleetPolicy:
    """When a worker that sends nothing counts as lost."""

    ping_interval_s: float = 10.0  # until two pings of a worker give its own interval
    missed_pings: int = 3
    least_silence_s: float = 5.0  # a busy machine may be seconds late
    unlisted_pings: int = 2  # after so many pings in a row without a job's id, the worker does not have the job


@dataclass(frozen=True, slots=True)
class ScalingOptions:
    """When workers that this gateway starts are started and stopped, between the bounds of --workers MIN:MAX."""

    scaler: ScalerType = ScalerType.QUEUE_DELAY  # load-balancing endpoints always count requests
    value: float = 4.0  # seconds of waiting, or requests per worker
    idle_timeout_s: float = 5.0
    flashboot: bool = False  # freeze idle workers instead of ending them
    init_timeout_s: float = 420.0  # a worker that has been starting for longer counts as unhealthy

    def policy(self, min_workers: int, max_workers: int) -> ScalingPolicy:
        """The policy for so many workers. Raises RequestError for a value that no policy can have."""
        if not self.value:
            raise RequestError("--set scaling.value=0: expected a number above 0")
        return ScalingPolicy(
            min_workers, max_workers, self.scaler, self.value, self.idle_timeout_s, flashboot=self.flashboot
        )

    def balanced_policy(self, min_workers: int, max_workers: int) -> ScalingPolicy:
        """The same for a load-balancing endpoint, which RunPod scales by request count alone."""
        return replace(self, scaler=ScalerType.REQUEST_COUNT).policy(min_workers, max_workers)


@dataclass(frozen=True, slots=True)
class BalancerOptions:
    """Load-balancing endpoints: RunPod's documented limits; period and timeout of the health probes are not."""

    worker_wait_s: float = 120.0  # then 400
    affinity_wait_s: float = 300.0  # for a worker that a strict affinity names; then 400
    request_s: float = 330.0  # then 524
    body_bytes: int = 30 * MEGABYTE
    response_bytes: int = 30 * MEGABYTE
    poll_s: float = 0.5
    probe_timeout_s: float = 5.0
    waiting_requests: int = 1_000  # beyond, 429
    resends: int = 2  # of a request whose worker was lost before it answered; 0 as RunPod, which documents none
    held_bytes: int = 256_000  # larger bodies are streamed, so they cannot be sent again


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """All options of a gateway; `docs/gateway.md` has one row for each."""

    limits: GatewayLimits = field(default_factory=GatewayLimits)
    waits: WaitTimeouts = field(default_factory=WaitTimeouts)
    jobs: JobPolicy = field(default_factory=JobPolicy)
    fleet: FleetPolicy = field(default_factory=FleetPolicy)
    scaling: ScalingOptions = field(default_factory=ScalingOptions)
    balancer: BalancerOptions = field(default_factory=BalancerOptions)
    sort_keys: bool = False
    get_body: GetBody = GetBody.ABSENT
    wait_expiry_status: int = 200
    late_result_status: int = 200
    cancel_on_disconnect: bool = False
    webhook_pause_s: float = 10.0
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()  # besides the loopback names; 0.0.0.0 and :: stand for any address
    faults: bool = False
    endpoint_ids: tuple[str, ...] = ("local",)
    any_endpoint: bool = False  # an unknown endpoint id is an endpoint of its own from its first use
