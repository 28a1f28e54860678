"""One job, followed by its id alone: the gateway, the log, a metric's exemplar, the trace and the engine's span."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.support.engines.real import SETTINGS
from tests.support.http import Http, metric_sum
from tests.support.http_mode import is_engine, kill
from tests.support.observed import OPENMETRICS, Observed, Span, observed_worker
from worker_vllm.engine.process.guard import descendants

ECHO = {"ENGINE": "echo", "MODEL_NAME": "parrot", "MAX_NUM_SEQS": "8", "ECHO_TPOT_MS": "5"}
REAL = {**SETTINGS, "ENGINE": "vllm", "HF_HUB_OFFLINE": "1"}
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
GENERATED = "vllm:generation_tokens_total"
ENDLESS = {"prompt": "hello", "max_tokens": 5000, "ignore_eos": True, "stream": True}
EXEMPLAR = re.compile(r"^worker_jobs_total\{(.*?)\} \S+ # \{(.*?)\} ", re.MULTILINE)


def openai(route: str, **body: Any) -> dict[str, Any]:
    """The input of an OpenAI job."""
    return {"openai_route": route, "openai_input": body}


async def ended(http: Http, job_id: str) -> str:
    """The gateway's status of a job that is over."""
    while (status := (await http.get(f"/status/{job_id}?wait=5000")).json["status"]) in ("IN_QUEUE", "IN_PROGRESS"):
        pass
    return str(status)


async def started(observed: Observed, http: Http, given: dict[str, Any]) -> str:
    """A job that streams: its id once the engine has made some tokens for it."""
    before = metric_sum(await observed.scrape(), GENERATED)
    job_id = str((await http.post("/run", {"input": given})).json["id"])
    while metric_sum(await observed.scrape(), GENERATED) < before + 5:
        await asyncio.sleep(0.02)
    return job_id


async def success(observed: Observed, http: Http) -> tuple[str, str]:
    """A whole chat."""
    given = openai(CHAT, messages=[{"role": "user", "content": "hello"}], max_tokens=8, stream=True)
    job_id = (await http.post("/run", {"input": given})).json["id"]
    return job_id, await ended(http, job_id)


async def refusal(observed: Observed, http: Http) -> tuple[str, str]:
    """A request that the engine refuses."""
    job_id = (await http.post("/run", {"input": openai(TEXT, prompt="hello", max_tokens=-3)})).json["id"]
    return job_id, await ended(http, job_id)


async def cancel(observed: Observed, http: Http) -> tuple[str, str]:
    """A stream that its client cancels by id."""
    job_id = await started(observed, http, openai(TEXT, **ENDLESS))
    await http.post(f"/cancel/{job_id}")
    return job_id, await ended(http, job_id)


async def disconnect(observed: Observed, http: Http) -> tuple[str, str]:
    """A stream whose client goes away; its id is in the answer's head."""
    async with http.open("POST", "/openai/v1/completions", {"model": "parrot", **ENDLESS}) as answer:
        await answer.content.readuntil(b"\n\n")
        job_id = answer.headers["x-job-id"]
    return job_id, await ended(http, job_id)


async def death(observed: Observed, http: Http) -> tuple[str, str]:
    """A stream whose engine is killed."""
    job_id = await started(observed, http, openai(TEXT, **ENDLESS))
    cores = re.findall(r"\(EngineCore pid=(\d+)\)", observed.process.output())
    echoes = [pid for pid in descendants(observed.process.pid) if is_engine(pid, b"worker_vllm.echo")]
    kill(int(cores[-1]) if cores else echoes[0])
    return job_id, await ended(http, job_id)


# What each job's line must say, beside its tokens, and the gateway's status.
EXPECTED: dict[str, tuple[str, dict[str, Any]]] = {
    "success": ("COMPLETED", {"outcome": "completed", "kind": "openai", "route": CHAT, "model": "parrot"}),
    "refusal": ("FAILED", {"outcome": "refused", "error": "EngineReportedError", "status": 400, "route": TEXT}),
    "cancel": ("CANCELLED", {"outcome": "cancelled", "cancelled_by": "platform", "route": TEXT}),
    "disconnect": ("CANCELLED", {"outcome": "cancelled", "cancelled_by": "platform", "route": TEXT}),
    "death": ("FAILED", {"outcome": "failed", "error": "EngineUnavailable", "status": 503, "route": TEXT}),
}
STORIES = (success, refusal, cancel, disconnect, death)


async def follow(observed: Observed, *, engine_spans: bool) -> None:
    """Run every story, and follow each by its id."""
    await asyncio.to_thread(observed.process.line, "the engine is ready", 300)
    async with Http(observed.gateway) as http:
        for story in STORIES:
            name = story.__name__
            job_id, status = await story(observed, http)
            line = await asyncio.to_thread(observed.line_of, job_id)
            text = await observed.scrape(OPENMETRICS)
            exemplars = [dict(re.findall(r'(\w+)="([^"]*)"', found[1])) for found in EXEMPLAR.findall(text)]
            assert len(list(text_string_to_metric_families(text))) > 10  # type: ignore[no-untyped-call]
            trace_id = line["trace_id"]
            wanted_status, wanted = EXPECTED[name]
            assert (status, {key: line.get(key) for key in wanted}) == (wanted_status, wanted), name
            assert {"trace_id": trace_id, "job_id": job_id} in exemplars
            has_engine = engine_spans and name == "success"
            count = {"success": 2, "refusal": 2}.get(name, 1) + has_engine
            spans = await asyncio.to_thread(observed.collector.of_trace, trace_id, count)
            check_spans(name, line, job_id, spans)
            if has_engine:
                check_engine_span(line, spans)


def check_spans(name: str, line: dict[str, Any], job_id: str, spans: list[Span]) -> None:
    """The job's own span has the conventions' attributes and the line's figures."""
    whole = next(
        span for span in spans if span.attributes.get("gen_ai.provider.name") == "vllm" and not span.parent_id
    )
    assert whole.service == "worker-vllm"
    assert whole.attributes["worker.job.id"] == job_id
    assert whole.attributes["worker.job.outcome"] == line["outcome"]
    assert whole.attributes["gen_ai.operation.name"] == ("chat" if line["route"] == CHAT else "text_completion")
    assert whole.attributes.get("gen_ai.usage.output_tokens") == line.get("completion_tokens")
    assert whole.attributes.get("gen_ai.usage.input_tokens") == line.get("prompt_tokens")
    assert whole.attributes.get("error.type") == line.get("error")
    if name in ("success", "cancel", "disconnect"):
        assert line["tokens_from"] == "engine"
        assert line["completion_tokens"] > 0
        assert whole.attributes["gen_ai.server.time_to_first_token"] > 0


def check_engine_span(line: dict[str, Any], spans: list[Span]) -> None:
    """The engine's own span is a child of the job's, under the conventions' names."""
    whole = next(span for span in spans if not span.parent_id)
    engine = next(span for span in spans if span.name == "llm_request")
    assert engine.parent_id == whole.span_id
    assert engine.attributes["gen_ai.response.id"] == f"chatcmpl-{line['engine_ids']}"
    assert engine.attributes["gen_ai.usage.input_tokens"] == line["prompt_tokens"]
    assert engine.attributes["gen_ai.usage.output_tokens"] == line["completion_tokens"]
    assert engine.attributes["gen_ai.server.time_to_first_token"] > 0


@pytest.mark.timeout(60)
async def test_a_job_is_followed_by_its_id_alone() -> None:
    """On the echo engine, which exports no spans of its own."""
    with observed_worker(ECHO) as observed:
        await follow(observed, engine_spans=False)


@pytest.mark.vllm
@pytest.mark.timeout(420)
async def test_a_job_is_followed_by_its_id_alone_on_vllm() -> None:
    """Success, refusal, cancel, disconnect and death of the real engine; its span is a child of the job's."""
    with observed_worker(REAL) as observed:
        await follow(observed, engine_spans=True)
