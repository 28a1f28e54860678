"""What the queue decides by, as gauges: read when somebody looks, never written."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge

from worker_vllm.serverless.queue_worker import QueueWorker


def publish(queue: QueueWorker, registry: CollectorRegistry) -> None:
    """Add the queue's gauges to `registry`; each reads the queue's state at the moment it is collected."""
    admission, allowance, delivery = queue.admission, queue.outbox.turns.allowance, queue.delivery
    rows: tuple[tuple[str, str, Callable[[], float]], ...] = (
        ("jobs_held", "Jobs that the engine works on for this worker", lambda: admission.held),
        ("jobs_window", "Jobs that this worker may hold at present", lambda: admission.window),
        ("jobs_undelivered", "Jobs whose result is not delivered yet", lambda: len(queue.held)),
        ("engine_running", "Sequences that ran when the engine was last asked", lambda: _of(queue, "running")),
        ("engine_waiting", "Sequences that waited when the engine was last asked", lambda: _of(queue, "waiting")),
        ("engine_kv_used", "Share of KV memory in use when the engine was last asked", lambda: _of(queue, "kv_used")),
        ("pieces_per_second", "Stream pieces that this worker allows itself", lambda: allowance.per_second),
        ("results_bytes", "Size of the results that wait to be accepted", lambda: delivery.held_bytes),
    )
    for name, text, read in rows:
        Gauge(f"worker_{name}", text, registry=registry).set_function(read)


def _of(queue: QueueWorker, name: str) -> float:
    load = queue.admission.load
    return float("nan") if load is None else float(getattr(load, name))
