"""Publishes the queue worker's gauges. They are read when metrics are collected; nothing writes them."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Gauge

from worker_vllm.serverless.gauges import GaugeSource


def publish(sources: Iterable[GaugeSource], registry: CollectorRegistry) -> None:
    """Add a gauge named `worker_<name>` to `registry` for each source."""
    for source in sources:
        Gauge(f"worker_{source.name}", source.help, registry=registry).set_function(source.read)
