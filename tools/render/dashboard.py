"""deploy/observability/grafana-dashboard.json, from the table of panels below.

A metric of the worker is taken from its
declaration, so that a renamed one breaks this module; those of vLLM are checked against a scrape of the real engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from worker_vllm.observability import metric_names as names
from worker_vllm.observability.metric_names import Metric

WHERE = 'instance=~"$instance"'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, COLUMNS = 8, 8, 24
GRAFANA_SCHEMA = 39


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: its title, unit, what it tells, and its queries as (legend, expression)."""

    title: str
    unit: str
    help: str
    queries: tuple[tuple[str, str], ...]
    stacked: bool = False


def per_second(metric: str, by: str = "") -> str:
    """The rate of a counter, summed by a label, or over all."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{{WHERE}}}[$__rate_interval]))"


def quantiles(histogram: str, *shares: float) -> tuple[tuple[str, str], ...]:
    """Queries for quantiles of a histogram over all instances."""
    buckets = f"sum by (le) (rate({histogram}_bucket{{{WHERE}}}[$__rate_interval]))"
    return tuple((f"p{share * 100:.0f}", f"histogram_quantile({share}, {buckets})") for share in shares)


def gauge(metric: Metric | str, how: str = "max by (instance)") -> str:
    """A gauge, aggregated."""
    name = metric if isinstance(metric, str) else metric.name
    return f"{how} ({name}{{{WHERE}}})"


FAULTS = "failed|expired|stopped"
JOBS = names.JOBS.name

ROWS: dict[str, tuple[Panel, ...]] = {
    "Jobs": (
        Panel(
            "Jobs by outcome",
            "reqps",
            "Jobs that ended in a second. Refusals are the clients' fault; failed, expired and stopped jobs are not.",
            (("{{outcome}}", per_second(JOBS, "outcome")),),
            stacked=True,
        ),
        Panel(
            "Share of jobs that the service failed",
            "percentunit",
            "Jobs that failed, expired or were stopped, of all that ended.",
            (
                (
                    "share",
                    f'sum(rate({JOBS}{{{WHERE}, outcome=~"{FAULTS}"}}[$__rate_interval])) / {per_second(JOBS)}',
                ),
            ),
        ),
        Panel(
            "Cancels", "reqps", "Jobs that somebody ended early.", (("{{by}}", per_second(names.CANCELS.name, "by")),)
        ),
        Panel(
            "Duration",
            "s",
            "From the taking of a job to the end of its delivery.",
            quantiles(names.JOB_DURATION.name, 0.5, 0.95, 0.99),
        ),
        Panel(
            "Time to first token",
            "s",
            "From the taking of a job to its first token.",
            quantiles(names.JOB_FIRST_TOKEN.name, 0.5, 0.95, 0.99),
        ),
        Panel(
            "Time between tokens",
            "s",
            "Mean of each job.",
            quantiles(names.JOB_INTER_TOKEN.name, 0.5, 0.95),
        ),
        Panel(
            "Queue delay",
            "s",
            "Before a worker took the job (platform), and in the engine's own queue (engine).",
            (
                *((f"platform {name}", query) for name, query in quantiles(names.JOB_QUEUE_DELAY.name, 0.5, 0.95)),
                *((f"engine {name}", query) for name, query in quantiles(names.JOB_ENGINE_WAIT.name, 0.95)),
            ),
        ),
        Panel(
            "Tokens",
            "short",
            "Tokens in a second: read, of these found in the prefix cache, and generated.",
            (
                ("prompt", per_second(names.PROMPT_TOKENS.name)),
                ("cached", per_second(names.CACHED_TOKENS.name)),
                ("completion", per_second(names.COMPLETION_TOKENS.name)),
            ),
        ),
        Panel(
            "Refused by a full engine",
            "reqps",
            "Requests that were sent again because the engine's queue was full.",
            (("repeated", per_second(names.ENGINE_RETRIES.name)),),
        ),
    ),
    "Engine": (
        Panel(
            "Workers by state of their engine",
            "short",
            "`starting` takes no jobs; `refusing` fails every job with its diagnosis; `gone` is about to exit.",
            (("{{state}}", gauge(names.ENGINE_STATE, "sum by (state)")),),
            stacked=True,
        ),
        Panel(
            "Sequences",
            "short",
            "In the engine: running, and waiting for room.",
            (
                ("running", gauge("vllm:num_requests_running", "sum")),
                ("waiting", gauge("vllm:num_requests_waiting", "sum")),
            ),
        ),
        Panel(
            "KV memory in use",
            "percentunit",
            "At 100 % sequences are preempted and computed again.",
            (("{{instance}}", gauge("vllm:kv_cache_usage_perc")),),
        ),
        Panel(
            "Prefix cache hits",
            "percentunit",
            "Share of the prompts' tokens that were in the cache.",
            (
                (
                    "hits",
                    f"{per_second('vllm:prefix_cache_hits_total')} / {per_second('vllm:prefix_cache_queries_total')}",
                ),
            ),
        ),
        Panel(
            "Preemptions",
            "reqps",
            "Sequences that gave their memory to others.",
            (("preemptions", per_second("vllm:num_preemptions_total")),),
        ),
        Panel(
            "The engine's own times",
            "s",
            "95th percentiles of vLLM: queue, prefill, decode.",
            (
                ("queue", quantiles("vllm:request_queue_time_seconds", 0.95)[0][1]),
                ("prefill", quantiles("vllm:request_prefill_time_seconds", 0.95)[0][1]),
                ("decode", quantiles("vllm:request_decode_time_seconds", 0.95)[0][1]),
            ),
        ),
    ),
    "Starts and ends": (
        Panel(
            "Last start by phase",
            "s",
            "Of each instance's engine. /start beside /metrics tells more.",
            (("{{phase}}", gauge(names.ENGINE_START_PHASE, "max by (phase)")),),
            stacked=True,
        ),
        Panel(
            "Last start",
            "s",
            "From the spawn of the engine until it was ready; 0 before.",
            (("{{instance}}", gauge(names.ENGINE_START)),),
        ),
        Panel(
            "Ends of the engine",
            "short",
            "Since the worker's start, by the cause of the diagnosis. Each end while serving leaves a crash bundle.",
            (("{{cause}}", gauge(names.ENGINE_RESTARTS, "sum by (cause)")),),
        ),
    ),
    "Delivery to the platform (queue mode)": (
        Panel(
            "Jobs held and allowed",
            "short",
            "Jobs that the engine works on, and how many the worker may hold at present.",
            (("held", gauge(names.JOBS_HELD, "sum")), ("allowed", gauge(names.JOBS_WINDOW, "sum"))),
        ),
        Panel(
            "Results not delivered",
            "short",
            "Jobs whose result the platform has not accepted yet.",
            (("jobs", gauge(names.JOBS_UNDELIVERED, "sum")),),
        ),
        Panel(
            "Size of the results that wait",
            "bytes",
            "Beyond 256 MiB a worker takes no job.",
            (("{{instance}}", gauge(names.RESULTS_BYTES)),),
        ),
        Panel(
            "POSTs",
            "reqps",
            "To the platform; repeated ones were not accepted at first.",
            (
                ("{{message}}", per_second(names.POSTS.name, "message")),
                ("{{message}} repeated", per_second(names.POST_RETRIES.name, "message")),
            ),
        ),
        Panel(
            "Bytes posted",
            "Bps",
            "Bodies of POSTs.",
            (("{{message}}", per_second(names.POSTED_BYTES.name, "message")),),
        ),
        Panel(
            "Pieces allowed",
            "short",
            "Pieces of streams that a worker allows itself to post in a second.",
            (("{{instance}}", gauge(names.PIECES_LIMIT)),),
        ),
    ),
}


def dashboard() -> dict[str, Any]:
    """The document that Grafana imports."""
    shown: list[dict[str, Any]] = []
    y = 0
    for title, panels in ROWS.items():
        row = {"type": "row", "title": title, "collapsed": False, "panels": []}
        shown.append({**row, "id": len(shown) + 1, "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y}})
        y += 1
        for number, panel in enumerate(panels):
            x = number * WIDTH % COLUMNS
            if number and not x:
                y += HEIGHT
            position = {"h": HEIGHT, "w": WIDTH, "x": x, "y": y}
            shown.append({**graph(panel), "id": len(shown) + 1, "gridPos": position})
        y += HEIGHT
    return {
        "title": "worker-vllm",
        "uid": "worker-vllm",
        "description": "Jobs, engine, starts and delivery of worker-vllm; docs/operations.md says what to do.",
        "tags": ["vllm", "runpod"],
        "schemaVersion": GRAFANA_SCHEMA,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [datasource_choice(), instance_choice()]},
        "panels": shown,
    }


def graph(panel: Panel) -> dict[str, Any]:
    """A panel as Grafana has it."""
    stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
    custom = {"fillOpacity": 30 if panel.stacked else 5, "stacking": stacking, "showPoints": "never"}
    targets = [
        {"refId": chr(ord("A") + number), "datasource": DATASOURCE, "expr": expression, "legendFormat": legend}
        for number, (legend, expression) in enumerate(panel.queries)
    ]
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def datasource_choice() -> dict[str, Any]:
    """The variable that chooses the Prometheus server."""
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def instance_choice() -> dict[str, Any]:
    """The variable that chooses instances; every worker has `worker_info`."""
    query = f"label_values({names.INFO.name}, instance)"
    choice = {"name": "instance", "type": "query", "label": "Worker", "datasource": DATASOURCE, "query": query}
    return {**choice, "definition": query, "refresh": 2, "multi": True, "includeAll": True, "allValue": ".+"}
