"""The names of the metrics: conventional, declared once, and all of them in a scrape."""

from __future__ import annotations

import re

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from worker_vllm.observability.job_record import JobRecord, Tokens, Traffic
from worker_vllm.observability.metric_names import LABELS, METRICS, Metric, MetricKind, Served
from worker_vllm.observability.metrics_server import exposition
from worker_vllm.observability.trace_context import TraceContext
from worker_vllm.observability.worker_metrics import EngineFacts, WorkerMetrics, exemplar_of

UNITS = ("_seconds", "_bytes", "_ratio")
PLAIN_GAUGES = {
    "worker_engine_state",
    "worker_jobs_held",
    "worker_jobs_window",
    "worker_jobs_undelivered",
    "worker_pieces_per_second_limit",
    "worker_engine_running",
    "worker_engine_waiting",
    "worker_info",
}
FACTS = EngineFacts(
    state=lambda: "ready",
    states=("starting", "ready"),
    ends=lambda: {"died": 2},
    phases=lambda: [("load", 1.5), ("load", 0.5)],
    start_s=lambda: 4.0,
)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: str(metric.name))
def test_a_name_follows_the_conventions(metric: Metric) -> None:
    """What promtool checks: characters, suffixes of counters and units, a help text, known labels."""
    assert re.fullmatch(r"worker_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") is (metric.kind is MetricKind.COUNTER)
    assert not metric.name.endswith(("_count", "_sum", "_bucket", "_created"))
    if metric.kind is MetricKind.HISTOGRAM:
        assert metric.name.endswith(UNITS)
        assert list(metric.buckets) == sorted(set(metric.buckets))
    if metric.kind is MetricKind.GAUGE:
        assert metric.name.endswith(UNITS) or metric.name in PLAIN_GAUGES
    assert metric.help
    assert not metric.help.endswith(".")
    assert set(metric.labels) <= set(LABELS)
    assert "milli" not in metric.name


def test_every_declared_metric_is_exposed_and_no_other() -> None:
    """With its help, in the mode that has it."""
    for mode in Served:
        metrics = WorkerMetrics(mode, Traffic(), FACTS)
        wanted = {one for one in METRICS if mode is Served.QUEUE or one.served is Served.ALWAYS}
        gauges = {one for one in wanted if one.served is Served.QUEUE and one.kind is MetricKind.GAUGE}
        metrics.publish({one: lambda: 1.0 for one in gauges})
        text, _ = exposition(metrics.registry, b"", "")
        families = {family.name: family for family in text_string_to_metric_families(text.decode())}
        exposed = {name: family.documentation for name, family in families.items() if not name.endswith("_created")}
        assert exposed == {one.name.removesuffix("_total"): one.help for one in wanted}


def test_a_job_is_counted_once_with_its_id_as_exemplar() -> None:
    """OpenMetrics has exemplars; the plain format has none. The engine's text follows, with one end."""
    metrics = WorkerMetrics(Served.QUEUE, Traffic(), FACTS)
    record = JobRecord("job-1", kind="openai", route="/v1/completions", trace=TraceContext("a" * 32, "b" * 16))
    record.tokens, record.ended_at = Tokens(3, 1, 5, "engine"), record.taken_at + 1
    record.end("cancelled", "platform")
    metrics.job_ended(record)
    body, kind = exposition(
        metrics.registry, b"# TYPE vllm:x gauge\nvllm:x 1\n# EOF\n", "application/openmetrics-text"
    )
    text = body.decode()
    labels = 'kind="openai",outcome="cancelled",route="/v1/completions"'
    exemplar = f'{{job_id="job-1",trace_id="{"a" * 32}"}}'
    assert f"worker_jobs_total{{{labels}}} 1.0 # {exemplar}" in text
    assert 'worker_cancels_total{by="platform"} 1.0' in text
    assert "worker_completion_tokens_total 5.0" in text
    assert 'worker_engine_start_phase_seconds{phase="load"} 2.0' in text
    assert 'worker_engine_restarts_total{cause="died"} 2.0' in text
    assert text.endswith("vllm:x 1\n# EOF\n")
    assert (text.count("# EOF"), kind.partition(";")[0]) == (1, "application/openmetrics-text")
    plain, kind = exposition(metrics.registry, b"vllm:x 1\n", "text/plain")
    assert (b"# {" in plain, kind.partition(";")[0]) == (False, "text/plain")


PLAIN_TEXT = b"""# HELP vllm:tokens_total Tokens "made" here
# TYPE vllm:tokens_total counter
vllm:tokens_total{engine="0"} 5.0
# HELP vllm:tokens_created Tokens
# TYPE vllm:tokens_created gauge
vllm:tokens_created{engine="0"} 1.7e+09
# TYPE odd counter
odd 1
# TYPE other untyped
other 2
# TYPE wait histogram
wait_bucket{le="+Inf"} 1.0
wait_count 1.0
wait_sum 0.5
"""


def test_an_engines_plain_text_becomes_openmetrics() -> None:
    """Whole and valid, behind the worker's own; it is left as it is where nobody asks for OpenMetrics."""
    metrics = WorkerMetrics(Served.ALWAYS, Traffic(), FACTS)
    body, _ = exposition(metrics.registry, PLAIN_TEXT, "application/openmetrics-text")
    families = {family.name: family for family in parse_openmetrics(body.decode())}  # type: ignore[no-untyped-call]
    assert {name: families[name].type for name in ("vllm:tokens", "odd", "other", "wait")} == {
        "vllm:tokens": "counter",
        "odd": "unknown",
        "other": "unknown",
        "wait": "histogram",
    }
    assert families["vllm:tokens"].documentation == 'Tokens "made" here'
    assert exposition(metrics.registry, PLAIN_TEXT, "")[0].endswith(PLAIN_TEXT)


def test_an_id_that_is_too_long_is_no_exemplar() -> None:
    """OpenMetrics allows 128 characters."""
    trace = TraceContext("a" * 32, "b" * 16)
    assert exemplar_of(JobRecord("j" * 90, trace=trace)) == {"trace_id": "a" * 32}
    assert exemplar_of(JobRecord("j" * 82, trace=trace)) == {"trace_id": "a" * 32, "job_id": "j" * 82}
