"""The engine's metrics in Prometheus text format, under vLLM 0.32's names and labels."""

from __future__ import annotations

from worker_vllm.echo.scheduler import Scheduler


def exposition(scheduler: Scheduler, model: str) -> str:
    """The body of GET /metrics."""
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
        lines += [f"# TYPE {metric} {kind}", f"{metric}{{{labels}}} {float(value)}"]
    lines.append("# TYPE vllm:request_success_total counter")
    for reason in ("stop", "length", "abort"):
        count = float(scheduler.finished[reason])
        lines.append(f'vllm:request_success_total{{{labels},finished_reason="{reason}"}} {count}')
    return "\n".join(lines) + "\n"
