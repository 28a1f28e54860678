"""The queue worker against a platform that misbehaves at wire level: every job's outcome arrives, once, unmixed."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.platforms.raw_platform import (
    CLOSE,
    RESET,
    RawPlatform,
    Request,
    Script,
    answer,
    bytewise,
    chunked,
    raw_platform,
    redirect,
    worker_variables,
)
from worker_vllm.jobs.output.output import Output
from worker_vllm.serverless.http.client import HttpPlatform
from worker_vllm.serverless.job_service import JobService
from worker_vllm.serverless.queue_worker import QueueWorker
from worker_vllm.settings.load import load


async def say_back(job: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
    """Each text of the input, as events of a stream or in one value."""
    for text in job["input"].get("stream", []):
        yield Output(f"data: {text}\n\n".encode(), sse=True, mergeable=True)
    if "whole" in job["input"]:
        yield Output(json.dumps(job["input"]["whole"]).encode(), streamed=False)


@asynccontextmanager
async def working(raw: RawPlatform) -> AsyncIterator[QueueWorker]:
    """A queue worker for this platform."""
    settings = load({**worker_variables(raw), "ENGINE_URL": "http://127.0.0.1:9"}).queue
    http = HttpPlatform("key")
    loop = QueueWorker(JobService(say_back), settings, http, random=lambda: 0.0)
    running = asyncio.create_task(loop.run())
    try:
        yield loop
    finally:
        running.cancel()
        await asyncio.wait([running])
        http.close()


def done(raw: RawPlatform, path: str) -> dict[str, Any]:
    """The results that arrived at a place, by job."""
    return {found.job_id: found.json for found in raw.of("job-done") if found.target.startswith(path)}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_results_follow_redirects(status: int) -> None:
    """24 of 24, for each code; 303 too, since a result may be repeated."""
    async with raw_platform() as raw, working(raw):
        moved = "/v2/ep/job-done/moved/"

        def elsewhere(request: Request) -> bytes:
            here = request.target.startswith(moved)
            return (
                answer()
                if here
                else redirect(status, f"{raw.root}{moved}{request.job_id}?{request.target.partition('?')[2]}")
            )

        raw.always["job-done"] = [elsewhere]
        await raw.give(*({"id": str(n), "input": {"whole": n}} for n in range(24)))
        await raw.until(lambda: len(done(raw, moved)) == 24)
        assert done(raw, moved) == {str(n): {"output": [n]} for n in range(24)}
        assert len(raw.of("job-done")) == 48


async def test_303_to_a_page_that_takes_no_result_says_that_it_was_taken() -> None:
    """As HTTP has it; it does not become a failure."""
    async with raw_platform() as raw, working(raw) as loop:
        raw.script("job-done", [redirect(303, "/v2/ep/job-done/w1/page")], [answer(405)])
        await raw.give({"id": "a", "input": {"whole": 1}})
        await raw.until(lambda: len(raw.of("job-done")) == 2)
        while loop.job_ids:
            await asyncio.sleep(0)
        assert len(raw.of("job-done")) == 2


TEXTS = [f"word{n}" for n in range(6)]
BAD_TAKES = ("gzip", "bytewise", "chunked", "trailers", "closed")
BAD_RESULTS: tuple[Script, ...] = (
    [answer(500)], [answer(502)], [answer(503)], [answer(429, b"", "Retry-After: \xb2")], [RESET], [CLOSE],
    [answer()[:30], CLOSE], bytewise(answer()), [chunked(b"{}", 1, b"X: y\r\n")], [0.02, answer()],
)  # fmt: skip
BAD_PIECES: tuple[Script, ...] = (
    [answer(425)], [answer(429)], [answer(503)], [answer(502)], [RESET], [0.02, answer()], bytewise(answer()),
)  # fmt: skip


class Mischief:
    """Answers by dice; knows what it has accepted for good, and what it has accepted without saying so."""

    def __init__(self, raw: RawPlatform, seed: int) -> None:
        self.accepted: Counter[str] = Counter()  # results that were answered as they should be
        self.results: dict[str, Any] = {}
        self.pieces: dict[str, str] = {}  # text that was accepted with a complete answer
        self.unsure: set[str] = set()  # jobs of which a piece got an incomplete or ambiguous answer
        self._raw = raw
        self._dice = random.Random(seed)
        raw.answers = self.reply

    def reply(self, request: Request) -> Script | None:
        """The script for a request; None is the sound one."""
        bad = self._dice.random() < 0.1
        if request.route == "job-done":
            return self._result(request, self._dice.choice(BAD_RESULTS) if bad else [answer()])
        if request.route == "job-stream":
            return self._piece(request, self._dice.choice(BAD_PIECES) if bad else [answer()])
        if request.route == "job-take" and self._raw.jobs:
            return self._take(request)
        return None

    def _result(self, request: Request, script: Script) -> Script:
        self.results[request.job_id] = request.json
        if _is_accepted(script):
            self.accepted[request.job_id] += 1
        return script

    def _piece(self, request: Request, script: Script) -> Script:
        first = script[0]
        if _is_accepted(script):
            self.pieces[request.job_id] = self.pieces.get(request.job_id, "") + request.json["output"]
        elif first is RESET or (isinstance(first, bytes) and first.startswith(b"HTTP/1.1 502")):
            self.unsure.add(request.job_id)
        return script

    def _take(self, request: Request) -> Script:
        most = min(self._dice.randrange(1, 40), int(request.query.get("batch_size", 1)))
        kind = self._dice.choice(BAD_TAKES)
        if kind == "closed":
            return [CLOSE]
        jobs = [self._raw.jobs.popleft() for _ in range(min(most, len(self._raw.jobs)))]
        body = json.dumps(jobs if "batch_size" in request.query else jobs[0]).encode()
        if kind == "gzip":
            return [answer(200, gzip.compress(body), "Content-Encoding: gzip")]
        if kind == "bytewise":
            response = answer(200, body)
            return [*bytewise(response[:200]), response[200:]]
        response = chunked(body, 7 if kind == "chunked" else 1000, b"X-Sum: 1\r\nX-More: 2\r\n")
        return [response[:-13], response[-13:-5], response[-5:]]


def _is_accepted(script: Script) -> bool:
    whole = b"".join(part for part in script if isinstance(part, bytes))
    return whole.startswith(b"HTTP/1.1 200") and CLOSE not in script


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=[pytest.mark.matrix, pytest.mark.timeout(300)])])
async def test_no_job_is_lost_doubled_or_swapped(count: int, caplog: pytest.LogCaptureFixture) -> None:
    """A tenth of all answers is bad. Each job ends with its own text, or fails because a piece may have been lost;
    each outcome is one line of the log."""
    caplog.set_level(logging.DEBUG)
    async with raw_platform() as raw, working(raw) as loop:
        mischief = Mischief(raw, seed=11)
        wholes = {f"whole-{n}": {"whole": f"text of {n}"} for n in range(count // 2)}
        streams = {f"stream-{n}": {"stream": [f"{n}-{text}" for text in TEXTS]} for n in range(count // 2)}
        jobs = [{"id": name, "input": given} for name, given in {**wholes, **streams}.items()]
        random.Random(5).shuffle(jobs)
        await raw.give(*jobs)
        await raw.until(lambda: len(mischief.accepted) == count)
        while loop.job_ids:
            await asyncio.sleep(0.01)
    assert set(mischief.accepted) == {*wholes, *streams}
    assert set(mischief.accepted.values()) == {1}
    assert {name: mischief.results[name] for name in wholes} == {
        name: {"output": [given["whole"]]} for name, given in wholes.items()
    }
    for name, given in streams.items():
        text = "".join(f"data: {word}\n\n" for word in given["stream"])
        if name in mischief.unsure:
            assert "may have been lost" in mischief.results[name]["error"]
        else:
            assert "".join(mischief.results[name]["output"]) == mischief.pieces[name] == text
    ends = {name: "FAILED" if "error" in found else "COMPLETED" for name, found in mischief.results.items()}
    logged = [line.rpartition(", bytes=")[0] for line in caplog.messages if " delivered, " in line]
    assert sorted(logged) == sorted(f"job={name} delivered, {end}" for name, end in ends.items())
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) < count / 4
