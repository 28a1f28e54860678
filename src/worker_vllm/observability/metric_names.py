"""Every metric that a worker exposes, as data: name, kind, help, labels, buckets. No metric is declared elsewhere.

Names follow Prometheus' conventions: counters end in `_total`, units are `_seconds`, `_bytes` or `_ratio`. Every
label has a bounded set of values. `docs/observability.md` is generated from this table. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class MetricKind(StrEnum):
    """The type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Served(StrEnum):
    """The modes in which a metric is exposed."""

    ALWAYS = "all modes"
    QUEUE = "queue mode"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `name` is complete, with the suffix of its kind or unit."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    served: Served = Served.ALWAYS


LABELS: Mapping[str, str] = {
    "kind": "`native`, `openai`, `route`, `http`, or `invalid` for a job that could not be read",
    "route": "the route of the engine, one of the open routes, or `none`",
    "outcome": "`completed`, `refused` (the request's fault), `failed`, `cancelled`, `aborted` (the client left), "
    "`expired` (its time was over), `stopped` (the worker had to stop)",
    "message": "`stream` (a piece of a stream) or `done` (a final result)",
    "by": "`platform`, `client`, `time limit`, `worker`",
    "cause": "the cause of the diagnosis, as in the log",
    "state": "`starting`, `ready`, `refusing`, `gone`, `stopped`",
    "phase": "a phase of the engine's start, as in the log",
    "version": "the worker's version",
    "mode": "`queue` or `http`",
}

COUNTER, GAUGE, HISTOGRAM = MetricKind
WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
TOKEN_TIMES = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)
DURATIONS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)

JOBS = Metric("worker_jobs_total", COUNTER, "Jobs that ended", ("kind", "route", "outcome"))
JOB_DURATION = Metric(
    "worker_job_duration_seconds",
    HISTOGRAM,
    "Time from the taking of a job, or the arrival of a request, to the end of its delivery",
    ("route",),
    DURATIONS,
)
JOB_QUEUE_DELAY = Metric(
    "worker_job_queue_delay_seconds",
    HISTOGRAM,
    "Time that a job waited before a worker took it, where the job contains it",
    ("route",),
    WAITS,
)
JOB_ENGINE_WAIT = Metric(
    "worker_job_engine_wait_seconds",
    HISTOGRAM,
    "Time that a job waited in the engine's own queue",
    ("route",),
    WAITS,
)
JOB_FIRST_TOKEN = Metric(
    "worker_job_first_token_seconds",
    HISTOGRAM,
    "Time from the taking of a job, or the arrival of a request, to its first token",
    ("route",),
    WAITS,
)
JOB_INTER_TOKEN = Metric(
    "worker_job_inter_token_seconds",
    HISTOGRAM,
    "Mean time between two tokens of one sequence, one value for each job",
    ("route",),
    TOKEN_TIMES,
)
PROMPT_TOKENS = Metric(
    "worker_prompt_tokens_total",
    COUNTER,
    "Prompt tokens of the jobs that ended, as the engine counts them",
)
CACHED_TOKENS = Metric("worker_cached_tokens_total", COUNTER, "Prompt tokens that the engine had in its prefix cache")
COMPLETION_TOKENS = Metric(
    "worker_completion_tokens_total",
    COUNTER,
    "Tokens generated for the jobs that ended, aborted ones included",
)
CANCELS = Metric("worker_cancels_total", COUNTER, "Jobs that were ended before their end, by whom", ("by",))
ENGINE_RETRIES = Metric(
    "worker_engine_requests_repeated_total",
    COUNTER,
    "Requests that the engine refused because its queue was full, and that were sent again",
    served=Served.QUEUE,
)
POSTS = Metric("worker_posts_total", COUNTER, "POSTs to the platform", ("message",), served=Served.QUEUE)
POSTED_BYTES = Metric(
    "worker_posted_bytes_total", COUNTER, "Bytes of the bodies of POSTs", ("message",), served=Served.QUEUE
)
POST_RETRIES = Metric(
    "worker_post_retries_total", COUNTER, "POSTs that repeat one", ("message",), served=Served.QUEUE
)
ENGINE_STATE = Metric("worker_engine_state", GAUGE, "1 for the state that the engine is in, else 0", ("state",))
ENGINE_RESTARTS = Metric(
    "worker_engine_restarts_total",
    COUNTER,
    "Ends of the engine that the worker did not ask for",
    ("cause",),
)
ENGINE_START = Metric(
    "worker_engine_start_seconds", GAUGE, "Duration of the engine's last start; 0 before it is ready"
)
ENGINE_START_PHASE = Metric(
    "worker_engine_start_phase_seconds",
    GAUGE,
    "Duration of each phase of the engine's last start",
    ("phase",),
)
JOBS_HELD = Metric("worker_jobs_held", GAUGE, "Jobs that the engine works on for this worker", served=Served.QUEUE)
JOBS_WINDOW = Metric("worker_jobs_window", GAUGE, "Jobs that this worker may hold at present", served=Served.QUEUE)
JOBS_UNDELIVERED = Metric(
    "worker_jobs_undelivered", GAUGE, "Jobs whose result is not delivered yet", served=Served.QUEUE
)
RESULTS_BYTES = Metric(
    "worker_results_bytes", GAUGE, "Size of the results that wait to be accepted", served=Served.QUEUE
)
PIECES_LIMIT = Metric(
    "worker_pieces_per_second_limit",
    GAUGE,
    "Pieces of streams that this worker allows itself to post in a second",
    served=Served.QUEUE,
)
ENGINE_RUNNING = Metric(
    "worker_engine_running", GAUGE, "Sequences that ran at the engine's last report", served=Served.QUEUE
)
ENGINE_WAITING = Metric(
    "worker_engine_waiting",
    GAUGE,
    "Sequences that waited at the engine's last report",
    served=Served.QUEUE,
)
ENGINE_KV_USED = Metric(
    "worker_engine_kv_used_ratio",
    GAUGE,
    "Share of KV memory in use at the engine's last report",
    served=Served.QUEUE,
)
INFO = Metric("worker_info", GAUGE, "1; its labels are the worker's version and mode", ("version", "mode"))

METRICS = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
