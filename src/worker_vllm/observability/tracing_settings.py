"""Whether and where traces are exported, by OpenTelemetry's own variables (OTEL_…). Standard library only.

Source: the OpenTelemetry specification, "Environment Variable Specification" and "OTLP Exporter Configuration".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from worker_vllm.observability.trace_context import TraceContext, new_id
from worker_vllm.settings.arguments import EngineArguments
from worker_vllm.settings.types import EngineKind, EngineSettings

ENDPOINT, TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
PROTOCOL, TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
HTTP, GRPC = "http/protobuf", "grpc"
ENGINE_FLAG = "--otlp-traces-endpoint"  # vLLM 0.32.0
WHOLE = 1 << 64


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Where spans go, and which traces are exported: those of a share, or as the caller's trace says."""

    endpoint: str  # for HTTP with the path, /v1/traces
    protocol: str = HTTP
    ratio: float = 1.0
    follows_parent: bool = True

    def start(self, parent: TraceContext | None = None) -> TraceContext:
        """The span of a job that starts now, below the caller's span where there is one."""
        trace_id = parent.trace_id if parent is not None else new_id(16)
        if parent is not None and self.follows_parent:
            sampled = parent.sampled
        else:
            sampled = int(trace_id[16:], 16) < round(self.ratio * WHOLE)
        return TraceContext(trace_id, new_id(8), parent.span_id if parent is not None else None, sampled)


def tracing_settings(environment: Mapping[str, str]) -> TracingSettings | None:
    """The settings in the environment; None where no endpoint is configured, or where tracing is switched off."""
    given = {name: value.strip() for name, value in environment.items() if name.startswith("OTEL_") and value.strip()}
    off = given.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or "otlp" not in given.get("OTEL_TRACES_EXPORTER", "otlp").split(","):
        return None
    protocol = given.get(TRACES_PROTOCOL) or given.get(PROTOCOL) or HTTP
    endpoint = given.get(TRACES_ENDPOINT)
    if endpoint is None:
        if (base := given.get(ENDPOINT)) is None:
            return None
        endpoint = base if protocol == GRPC else base.rstrip("/") + "/v1/traces"
    sampler = given.get("OTEL_TRACES_SAMPLER", "parentbased_always_on")
    follows_parent = sampler.startswith("parentbased_")
    kind = sampler.removeprefix("parentbased_")
    ratio = {"always_on": 1.0, "always_off": 0.0}.get(kind, 1.0)
    if kind == "traceidratio":
        ratio = _ratio(given.get("OTEL_TRACES_SAMPLER_ARG", "1"))
    return TracingSettings(endpoint, protocol, ratio, follows_parent)


def _ratio(text: str) -> float:
    """The share of traces; 1 for a text that is no number from 0 to 1, as in OpenTelemetry's SDK."""
    try:
        value = float(text)
    except ValueError:
        return 1.0
    return value if 0 <= value <= 1 else 1.0


def with_engine_tracing(engine: EngineSettings, environment: Mapping[str, str]) -> EngineSettings:
    """The engine's settings, so that it exports its spans to the same place; unchanged without tracing.

    An endpoint among the user's own arguments stays. vLLM takes its protocol from the variable for traces alone.
    """
    found = tracing_settings(environment)
    if found is None or engine.kind is not EngineKind.VLLM:
        return engine
    given = EngineArguments(engine.arguments).has(ENGINE_FLAG)
    arguments = engine.arguments if given else (*engine.arguments, ENGINE_FLAG, found.endpoint)
    variables = {TRACES_PROTOCOL: found.protocol, **engine.environment}
    return replace(engine, arguments=arguments, environment=variables)
