"""OpenTelemetry's variables: whether traces are exported, where, and which of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worker_vllm.observability.trace_context import TraceContext, parse
from worker_vllm.observability.tracing_settings import (
    GRPC,
    TracingSettings,
    tracing_settings,
    with_engine_tracing,
)
from worker_vllm.settings.types import EngineKind, EngineSettings

BASE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}
PARENT = TraceContext("a" * 32, "b" * 16, sampled=True)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "x"}, None),
        (BASE, TracingSettings("http://c:4318/v1/traces")),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/t"}, TracingSettings("http://c/t")),
        ({**BASE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, TracingSettings("http://c:4318/", GRPC)),
        ({**BASE, "OTEL_SDK_DISABLED": "true"}, None),
        ({**BASE, "OTEL_TRACES_EXPORTER": "none"}, None),
        (
            {**BASE, "OTEL_TRACES_SAMPLER": "always_off"},
            TracingSettings("http://c:4318/v1/traces", ratio=0.0, follows_parent=False),
        ),
        (
            {**BASE, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
            TracingSettings("http://c:4318/v1/traces", ratio=0.25),
        ),
        (
            {**BASE, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "many"},
            TracingSettings("http://c:4318/v1/traces", follows_parent=False),
        ),
    ],
)
def test_the_standard_variables_configure_tracing(
    environment: dict[str, str], expected: TracingSettings | None
) -> None:
    """As the specification of OpenTelemetry says."""
    assert tracing_settings(environment) == expected


def test_a_trace_goes_on_where_the_caller_has_one() -> None:
    """Its decision counts unless the sampler decides by itself."""
    never = TracingSettings("http://c", ratio=0.0)
    assert never.start().sampled is False
    child = never.start(PARENT)
    assert (child.trace_id, child.parent_id, child.sampled) == ("a" * 32, "b" * 16, True)
    assert TracingSettings("http://c", ratio=0.0, follows_parent=False).start(PARENT).sampled is False
    assert TracingSettings("http://c").start().sampled is True


@pytest.mark.parametrize(
    "header",
    ["", "00-abc", f"ff-{'a' * 32}-{'b' * 16}-01", f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'0' * 16}-01"],
)
def test_an_invalid_traceparent_is_none(header: str) -> None:
    """A new trace starts then."""
    assert parse(header) is None
    assert parse(PARENT.traceparent) == PARENT


def test_the_engine_exports_to_the_same_place() -> None:
    """Unless the user's arguments name another; the echo engine has no spans."""
    engine = EngineSettings(arguments=("--seed", "1"))
    traced = with_engine_tracing(engine, BASE)
    assert traced.arguments == ("--seed", "1", "--otlp-traces-endpoint", "http://c:4318/v1/traces")
    assert traced.environment == {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
    own = EngineSettings(arguments=("--otlp-traces-endpoint", "http://mine"))
    assert with_engine_tracing(own, BASE).arguments == own.arguments
    assert with_engine_tracing(EngineSettings(kind=EngineKind.ECHO), BASE) == EngineSettings(kind=EngineKind.ECHO)
    assert with_engine_tracing(engine, {}) is engine


def test_nothing_of_opentelemetry_or_prometheus_is_imported_when_off() -> None:
    """Neither by queue mode nor by http mode."""
    probe = (
        "import sys, worker_vllm.modes.queue, worker_vllm.modes.http, worker_vllm.modes.http_proxy\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'opentelemetry', 'prometheus_client', 'google'}))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=10)
    assert done.stdout.strip() == "[]"
