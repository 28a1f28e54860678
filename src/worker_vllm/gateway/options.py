"""What can be chosen about the gateway: RunPod's documented values by default, every unknown a switch."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

MEGABYTE = 1_000_000


class GetBody(StrEnum):
    """What `openai_input` is for a GET on the OpenAI routes; RunPod's own choice is not known."""

    ABSENT = "absent"
    NULL = "null"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """Sizes in bytes and counts; beyond them a request is refused, never queued."""

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
    """How long requests may take to arrive, and how long they are held, in seconds."""

    head_s: float = 10.0  # for a request's head to arrive, from its first byte or the connection's begin
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
    """How long jobs may run, live and be remembered, in seconds; and what becomes of a lost worker's jobs."""

    execution_timeout_s: float = 600.0
    ttl_s: float = 86_400.0
    keep_async_s: float = 1_800.0
    keep_sync_s: float = 60.0
    max_retries: int = 3
    timeout_fails: bool = False  # FAILED instead of TIMED_OUT when the execution timeout is over


@dataclass(frozen=True, slots=True)
class FleetPolicy:
    """When a silent worker counts as lost."""

    ping_interval_s: float = 10.0  # until two pings of a worker have shown its own interval
    missed_pings: int = 3
    least_silence_s: float = 5.0  # a busy machine is late by seconds without being lost
    unlisted_pings: int = 2  # so many pings in a row without a job's id: the worker does not have it


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """Everything the gateway can be told; `docs/gateway.md` has one row for each."""

    limits: GatewayLimits = field(default_factory=GatewayLimits)
    waits: WaitTimeouts = field(default_factory=WaitTimeouts)
    jobs: JobPolicy = field(default_factory=JobPolicy)
    fleet: FleetPolicy = field(default_factory=FleetPolicy)
    sort_keys: bool = False
    get_body: GetBody = GetBody.ABSENT
    wait_expiry_status: int = 200
    late_result_status: int = 200
    cancel_on_disconnect: bool = False
    webhook_pause_s: float = 10.0
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()  # besides the loopback names; 0.0.0.0 and :: stand for any address
    faults: bool = False
