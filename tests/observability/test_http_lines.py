"""Http mode: each request leaves one line, whoever ended it, with the tokens that the engine has counted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.http import Http, metric_sum
from tests.support.http_mode import COMPLETION, HttpWorker, ask, free_port, http_worker
from tests.support.observed import OPENMETRICS, SpanCollector
from tests.support.stack import echo_process

pytestmark = pytest.mark.timeout(30)

ENDLESS = {**COMPLETION, "max_tokens": 10_000, "stream": True, "ignore_eos": True, "echo": {"tpot_ms": 5}}
ROUTE = "/v1/completions"


async def post(worker: HttpWorker, job_id: str, body: Any, path: str = ROUTE, **headers: str) -> int:
    """POST with an id of the client's own; the answer's status."""
    async with Http(f"http://127.0.0.1:{worker.port}", {"X-Request-Id": job_id, **headers}) as http:
        return (await http.post(path, body)).status


async def cut_off(worker: HttpWorker, job_id: str) -> None:
    """A stream whose client goes away after its first bytes."""
    async with Http(f"http://127.0.0.1:{worker.port}", {"X-Request-Id": job_id}) as http:
        async with http.open("POST", ROUTE, ENDLESS) as answer:
            await answer.content.readany()


def line_of(worker: HttpWorker, job_id: str) -> dict[str, Any]:
    """The line of one request, once it is there."""
    worker.process.line(f'"requestId": "{job_id}", "job": {{', 10)
    lines = [line for line in worker.process.output().splitlines() if f'"requestId": "{job_id}", "job"' in line]
    assert len(lines) == 1
    found: dict[str, Any] = json.loads(lines[0])["job"]
    return found


def part(line: Mapping[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(line.get(name) for name in names)


async def test_every_request_leaves_one_line() -> None:
    """Success, refusals of the guard and of the engine, abort by disconnect, death of the engine; sums as counted."""
    address = f"127.0.0.1:{free_port()}"
    with http_worker({"METRICS_ADDRESS": address, "LOG_FORMAT": "json"}) as worker:
        await worker.listening()
        await worker.until(200)
        async with Http(f"http://{address}", {"Accept": OPENMETRICS}) as metrics:
            before = (await metrics.get("/metrics")).body.decode()
            assert await post(worker, "whole", COMPLETION) == 200
            assert await post(worker, "stream", {**COMPLETION, "stream": True}) == 200
            assert await post(worker, "closed", COMPLETION, "/v1/load_lora_adapter") == 404
            assert await post(worker, "limit", {**COMPLETION, "n": 4000}) == 400
            assert await post(worker, "model", {**COMPLETION, "model": "zip"}) == 404
            await cut_off(worker, "left")
            names = ("outcome", "error", "status", "route", "model", "completion_tokens", "tokens_from")
            lines = {name: await asyncio.to_thread(line_of, worker, name) for name in ("whole", "stream", "left")}
            assert part(lines["whole"], *names) == ("completed", None, None, ROUTE, "parrot", 3, "engine")
            assert part(lines["stream"], *names) == ("completed", None, None, ROUTE, "parrot", 3, "engine")
            assert part(lines["left"], "outcome", "cancelled_by", "tokens_from") == ("aborted", "client", "engine")
            for name, error, route, model in (
                ("closed", "NotFound", "none", "parrot"),
                ("limit", "RequestError", ROUTE, "parrot"),
                ("model", "EngineReportedError", ROUTE, "zip"),
            ):
                line = await asyncio.to_thread(line_of, worker, name)
                assert part(line, "outcome", "error", "route", "model") == ("refused", error, route, model)
            after = (await metrics.get("/metrics")).body.decode()
            for own, engine in (("prompt_tokens", "prompt_tokens"), ("completion_tokens", "generation_tokens")):
                total = sum(line[own] for line in lines.values())
                counted = [metric_sum(text, f"vllm:{engine}_total") for text in (before, after)]
                assert total == counted[1] - counted[0] == metric_sum(after, f"worker_{own}_total")
            assert re.search(r'worker_jobs_total\{kind="http",outcome="aborted".* # \{job_id="left"\}', after)
        dying = asyncio.create_task(post(worker, "dying", ENDLESS))
        await worker.control("GET", "wait?running=1")
        worker.kill_engine()
        line = await asyncio.to_thread(line_of, worker, "dying")
        assert part(line, "outcome", "error", "status") == ("failed", "EngineUnavailable", 503)
        with contextlib.suppress(Exception):  # the connection was cut in the middle of its answer
            await dying


async def test_a_request_that_the_stop_cuts_off_was_ended_by_the_worker() -> None:
    """After DRAIN_TIMEOUT; start, drain and exit have lines too."""
    with http_worker({"LOG_FORMAT": "json", "DRAIN_TIMEOUT": "0.3"}) as worker:
        await worker.listening()
        await worker.until(200)
        running = asyncio.create_task(post(worker, "long", ENDLESS))
        await worker.control("GET", "wait?running=1")
        worker.process.signal(signal.SIGTERM)
        await asyncio.to_thread(worker.process.exit_code)
        with contextlib.suppress(Exception):
            await running
        assert part(line_of(worker, "long"), "outcome", "cancelled_by") == ("stopped", "worker")
        assert "the worker ends with status 0" in worker.process.output()


async def test_a_request_goes_on_in_its_clients_trace() -> None:
    """The span's parent is the client's; the engine gets the span's own id."""
    with SpanCollector().serving() as collector:
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with http_worker({"LOG_FORMAT": "json", **traced}) as worker:
            await worker.listening()
            await worker.until(200)
            parent = f"00-{'a' * 32}-{'b' * 16}-01"
            assert await post(worker, "traced", COMPLETION, traceparent=parent) == 200
            (span,) = await asyncio.to_thread(collector.of_trace, "a" * 32, 1)
            assert (span.parent_id, span.name) == ("b" * 16, "text_completion parrot")
            assert span.attributes["worker.job.id"] == "traced"
            assert span.attributes["gen_ai.usage.output_tokens"] == 3
            (seen,) = [each for each in await worker.control("GET", "requests") if "traced" in str(each["headers"])]
            assert seen["headers"]["traceparent"] == f"00-{'a' * 32}-{span.span_id}-01"


async def test_an_attached_engines_requests_are_recorded_from_their_answers() -> None:
    """Without reports of the engine, the answer's usage counts, or its events."""
    address = f"127.0.0.1:{free_port()}"
    with echo_process(model="parrot") as engine:
        attached = {"ENGINE": "", "ENGINE_URL": engine, "METRICS_ADDRESS": address, "LOG_FORMAT": "json"}
        with http_worker(attached) as worker:
            await worker.listening()
            assert (await ask(worker.port, "GET", "/ping")).status == 200
            assert await post(worker, "whole", COMPLETION) == 200
            assert await post(worker, "stream", {**COMPLETION, "stream": True}) == 200
            line = await asyncio.to_thread(line_of, worker, "whole")
            assert part(line, "outcome", "completion_tokens", "tokens_from") == ("completed", 3, "response")
            line = await asyncio.to_thread(line_of, worker, "stream")
            assert part(line, "outcome", "tokens_from") == ("completed", "events")
            async with Http(f"http://{address}") as metrics:
                text = (await metrics.get("/metrics")).body.decode()
            assert metric_sum(text, "worker_jobs_total") == 2
            assert "vllm:generation_tokens_total" in text
