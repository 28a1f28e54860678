"""The engine's metrics in Prometheus' text format or OpenMetrics, under vLLM 0.32's names and labels."""

from __future__ import annotations

from worker_vllm.echo.scheduler import Scheduler

PLAIN = b"text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"


def exposition(scheduler: Scheduler, model: str, *, openmetrics: bool = False) -> str:
    """The body of GET /metrics. OpenMetrics declares a counter without its suffix, and has an end mark."""
    name = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    labels = f'engine="0",model_name="{name}"'
    values = (
        ("vllm:num_requests_running", "gauge", scheduler.running),
        ("vllm:num_requests_waiting", "gauge", scheduler.waiting),
        ("vllm:kv_cache_usage_perc", "gauge", scheduler.kv_usage),
        ("vllm:prompt_tokens_total", "counter", scheduler.prompt_tokens),
        ("vllm:generation_tokens_total", "counter", scheduler.generation_tokens),
    )
    lines = []
    for metric, kind, value in values:
        declared = metric.removesuffix("_total") if openmetrics else metric
        lines += [f"# TYPE {declared} {kind}", f"{metric}{{{labels}}} {float(value)}"]
    lines.append(f"# TYPE vllm:request_success{'' if openmetrics else '_total'} counter")
    for reason in ("stop", "length", "abort"):
        count = float(scheduler.finished[reason])
        lines.append(f'vllm:request_success_total{{{labels},finished_reason="{reason}"}} {count}')
    return "\n".join([*lines, *(["# EOF"] if openmetrics else [])]) + "\n"
