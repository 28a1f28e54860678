"""The dashboard and the alert rules ask for metrics that exist: held against live scrapes, each expression parsed."""

from __future__ import annotations

import asyncio
import re
import socket
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.observability.promql import (
    Asked,
    Query,
    alerts,
    asked,
    dashboard,
    panels,
    queries,
    variables_used,
)
from tests.support.attached import gateway_process, worker_environment, worker_process
from tests.support.http import Http
from tests.support.paths import PARROT, ROOT
from worker_vllm.observability.metric_names import METRICS, MetricKind

TARGET = frozenset({"instance", "job"})  # Prometheus adds them to every sample
PARTS = {
    "counter": ("",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("", "_sum", "_count"),
}
UNITS = ("seconds", "bytes", "ratio")
# promtool's lint (client_golang, prometheus/testutil/promlint): abbreviated and non-base units, and kinds in names.
NO_UNITS = (
    *("s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d"),
    *(
        "milliseconds",
        "microseconds",
        "nanoseconds",
        "minutes",
        "hours",
        "days",
        "kilobytes",
        "megabytes",
        "gigabytes",
    ),
    *("bits", "percent", "perc", "celsius_degrees", "calories", "grams"),
)
KINDS = ("gauge", "counter", "histogram", "summary", "info_metric")
ALL = queries()


def free_address() -> str:
    """An address of the loopback that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return f"127.0.0.1:{held.getsockname()[1]}"


async def scrape(engine: dict[str, str]) -> list[Metric]:
    """The metric families of a live worker that has served a stream and refused a job."""
    address = free_address()
    with gateway_process() as gateway:
        environment = {**worker_environment(gateway, "w1"), **engine, "METRICS_ADDRESS": address}
        with worker_process(environment) as process:
            await asyncio.to_thread(process.line, "the engine is ready", 300)
            body = {"model": engine["OPENAI_SERVED_MODEL_NAME_OVERRIDE"], "prompt": "hello", "max_tokens": 4}
            async with Http(gateway) as http:
                for more in ({"stream": True}, {"temperature": "hot"}):
                    job = {"openai_route": "/v1/completions", "openai_input": {**body, **more}}
                    await http.post("/runsync", {"input": job})
            text = (await asyncio.to_thread(read, f"http://{address}/metrics")).decode()
    assert len(re.findall(r"^# HELP worker_", text, re.MULTILINE)) > 20
    return [family for family in text_string_to_metric_families(text) if not family.name.endswith("_created")]


def read(url: str) -> bytes:
    """The body of a GET, once somebody listens."""
    while True:
        try:
            with urlopen(url) as answer:
                body: bytes = answer.read()
        except URLError:
            continue
        return body


def sample_names(families: list[Metric]) -> set[str]:
    """Every name that a query may use; the parser takes `_total` off a counter's name."""
    found = set()
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found |= {f"{name}{part}" for part in PARTS.get(family.type, ("",))}
    return found


def missing(families: list[Metric], prefix: str) -> list[str]:
    """The metrics with this prefix that a query asks for and the scrape has not, with the place of the query."""
    there = sample_names(families)
    return sorted(
        f"{query.place}: {one.metric}"
        for query in ALL
        for one in asked(query)
        if one.metric.startswith(prefix) and one.metric not in there
    )


def problems(family: Metric) -> list[str]:
    """What promtool's lint finds in a metric of ours."""
    name, words = family.name, family.name.split("_")
    found = []
    if not family.documentation:
        found.append("no help")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        found.append("not in snake case")
    if family.type != "counter" and name.endswith("_total"):
        found.append("_total on what is no counter")
    if family.type not in ("histogram", "summary") and name.endswith(("_count", "_sum", "_bucket")):
        found.append("a suffix of histograms")
    found += [f"unit {word} is not a base unit in full" for word in words if word in NO_UNITS]
    found += [f"{kind} in the name" for kind in KINDS if kind in name]
    found += [f"{unit} is not the last word" for unit in UNITS if unit in words[:-1]]
    if family.type == "histogram" and words[-1] not in UNITS:
        found.append("a histogram without a unit")
    return found


@pytest.mark.timeout(60)
async def test_every_metric_of_a_query_is_exported_by_a_live_worker() -> None:
    """The worker's own, and those of the engine that the stand-in has too; names and help pass the lint."""
    families = await scrape({"ENGINE": "echo", "MODEL_NAME": "echo", "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "echo"})
    assert missing(families, "worker_") == []
    assert {one.metric.partition(":")[0].partition("_")[0] for query in ALL for one in asked(query)} == {
        "worker",
        "vllm",
    }
    ours = [family for family in families if family.name.startswith("worker_")]
    assert {family.name: problems(family) for family in ours if problems(family)} == {}
    assert {f"{one.name}".removesuffix("_total") for one in METRICS} <= {family.name for family in ours}


@pytest.mark.vllm
async def test_every_metric_of_a_query_is_exported_by_vllm() -> None:
    """The engine's own metrics, behind the same address."""
    engine = {"MODEL_NAME": str(PARROT), "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "parrot", "HF_HUB_OFFLINE": "1"}
    families = await scrape({**engine, "MAX_MODEL_LEN": "1024", "ENFORCE_EAGER": "1"})
    assert missing(families, "") == []
    engines = {one.metric for query in ALL for one in asked(query) if one.metric.startswith("vllm:")}
    assert len(engines) >= 8


@pytest.mark.parametrize("query", ALL, ids=lambda query: str(query.place))
def test_a_query_uses_only_labels_that_its_metrics_have(query: Query) -> None:
    """By the worker's declarations; `le` belongs to buckets, and only they are asked for quantiles."""
    declared = {one.name: one for one in METRICS}
    for one in asked(query):
        if not one.metric.startswith("worker_"):
            continue
        metric = declared[one.metric.removesuffix("_bucket")]
        buckets = {"le"} if metric.kind is MetricKind.HISTOGRAM else set()
        assert one.labels <= {*metric.labels, *TARGET, *buckets}, one
        assert one.metric.endswith("_bucket") is (metric.kind is MetricKind.HISTOGRAM)


@pytest.mark.parametrize("query", ALL, ids=lambda query: str(query.place))
def test_a_rate_is_taken_of_counters_alone(query: Query) -> None:
    """And a counter is never shown as it is, but where its age is compared or it counts a worker's whole life."""
    rated = set(re.findall(r"(?:rate|increase)\(([\w:]+)", query.text))
    assert all(name.endswith(("_total", "_bucket")) for name in rated), query.text
    bare = {one.metric for one in asked(query)} - rated
    assert {name for name in bare if name.endswith(("_total", "_bucket"))} <= {"worker_engine_restarts_total"}


@pytest.mark.parametrize(
    ("text", "metrics"),
    [
        ("sum by (le, route) (rate(a_bucket{x='1'}[5m]))", {Asked("a_bucket", frozenset({"le", "route", "x"}))}),
        ("a > (b offset 5m or -c * 0)", {Asked(name, frozenset()) for name in "abc"}),
        ("max_over_time(rate(a[1m])[1h:1m])", {Asked("a", frozenset())}),
    ],
)
def test_what_a_query_asks_for_is_read_from_its_syntax(text: str, metrics: set[Asked]) -> None:
    """Matchers, groupings, offsets, subqueries."""
    assert asked(Query("", text)) == metrics


@pytest.mark.parametrize("text", ["sum(", "rate(a)", "a by b", "histogram_quantile(0.9)"])
def test_what_is_no_promql_is_refused(text: str) -> None:
    """So that a parse of every expression means something."""
    with pytest.raises(ValueError, match=r"."):
        asked(Query("", text))


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_a_panel_is_complete(panel: dict[str, object]) -> None:
    """It says what it shows; it has its place, its source, and only variables that the dashboard has."""
    assert panel["description"]
    variables = {variable["name"] for variable in dashboard()["templating"]["list"]} | {"__rate_interval"}
    assert variables_used(str(panel)) <= variables
    targets = panel["targets"]
    assert isinstance(targets, list)
    for target in targets:
        grouping = re.findall(r"\b(?:sum|max) by \((\w+)\)", target["expr"])
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
            assert label in grouping, target


def test_panels_do_not_overlap() -> None:
    """On Grafana's grid of 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_to_do(rule: dict[str, object]) -> None:
    """Its severity, a sentence with labels that it has, and a section of the operations page."""
    labels, annotations = rule["labels"], rule["annotations"]
    assert isinstance(labels, dict)
    assert isinstance(annotations, dict)
    assert labels["severity"] in ("critical", "warning")
    used = set(re.findall(r"\$labels\.(\w+)", annotations["summary"]))
    kept = (
        set(re.findall(r"\bby \(([^)]*)\)", str(rule["expr"]))[0].split(", "))
        if "by (" in str(rule["expr"])
        else set()
    )
    assert used <= kept
    page, _, anchor = annotations["runbook"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings}
