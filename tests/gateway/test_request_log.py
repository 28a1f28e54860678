"""The record of finished requests: what each line says, for every way in which a request ends."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from worker_vllm.gateway.api.submission import read_openai
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.options import GatewayOptions, JobPolicy
from worker_vllm.gateway.request_lines import LineStyle, request_line
from worker_vllm.gateway.request_log import RequestLog
from worker_vllm.gateway.request_record import RequestRecord, Usage, route_of
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.state.job import JobOutcome, Piece

ROUTE = "/v1/chat/completions"
WALL = 1_000_000.0


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Run:
    """One endpoint with a worker, its log, and a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        gateway = Gateway(GatewayOptions(), clock=self.clock)
        self.endpoint: EndpointRuntime = gateway.endpoint("local")
        self.log = RequestLog(wall=lambda: WALL + self.clock.now)
        self.log.follow(gateway)

    def submit(self, job_id: str) -> None:
        submission = read_openai(ROUTE, b"{}", JobPolicy())
        self.endpoint.perform(self.endpoint.state.store.submit(job_id, submission, self.clock()))

    def take(self) -> None:
        from worker_vllm.gateway.runtime import TakeRequest

        request = TakeRequest("worker-1", 1)
        self.endpoint.take(request)
        self.endpoint.withdraw(request)

    def piece(self, job_id: str, output: Any) -> None:
        self.endpoint.perform(self.endpoint.state.store.add_piece(job_id, "worker-1", Piece(output, 1)))

    def finish(self, job_id: str, **outcome: Any) -> None:
        self.endpoint.perform(self.endpoint.state.finish("worker-1", job_id, JobOutcome(**outcome), self.clock()))


def chunk(text: str) -> str:
    return f'data: {{"choices":[{{"delta":{{"content":"{text}"}}}}]}}\n\n'


async def test_a_stream_is_recorded_with_its_times_and_tokens() -> None:
    """Wait until taken, first piece and end counted from the submission; the usage is the last one told."""
    run = Run()
    run.submit("one")
    run.clock.now = 1.0
    run.take()
    run.clock.now = 1.5
    run.piece("one", chunk("a"))
    run.clock.now = 3.0
    run.piece("one", chunk("b") + 'data: {"usage":{"prompt_tokens":7,"total_tokens":17,"completion_tokens":10}}\n\n')
    run.finish("one", output=[])
    (found,) = run.log.since(0)
    assert asdict(found) == {
        "number": 1,
        "at": WALL + 3.0,
        "endpoint": "local",
        "id": "one",
        "route": ROUTE,
        "status": "200",
        "worker": "worker-1",
        "wait_s": 1.0,
        "first_s": 1.5,
        "total_s": 3.0,
        "tokens_in": 7,
        "tokens_out": 10,
        "estimated": False,
        "tokens_per_s": 5.0,
        "hint": "",
    }


async def test_a_refusal_is_recorded_with_its_status_and_hint() -> None:
    """The error object's code and message; a job that ends in the queue has no worker."""
    run = Run()
    run.submit("bad")
    run.submit("gone")
    run.take()
    run.finish("bad", error=json.dumps({"message": "MAX_MODEL_LEN is 8:\n use less", "code": 400}))
    run.endpoint.perform(run.endpoint.state.store.cancel("gone", run.clock()))
    rows = [(one.id, one.status, one.worker, one.wait_s, one.hint) for one in run.log.since(0)]
    assert rows == [
        ("bad", "400", "worker-1", 0.0, "MAX_MODEL_LEN is 8: use less"),
        ("gone", "cancelled", "", None, ""),
    ]


async def test_a_request_is_recorded_once_for_each_of_its_ends() -> None:
    """A job that is run again has a second record; what is told of an ended job afterwards has none."""
    run = Run()
    numbers: list[int] = []
    run.log.listeners.append(lambda found: numbers.append(found.number))
    run.submit("one")
    run.take()
    run.finish("one", error="boom")
    run.endpoint.perform(run.endpoint.state.store.cancel("one", run.clock()))
    run.clock.now = 1.0
    run.endpoint.perform(run.endpoint.state.store.retry("one", run.clock()))
    run.take()
    run.finish("one", output=[{"usage": {"input": 2, "output": 3}}])
    assert [(one.status, one.tokens_in, one.tokens_out) for one in run.log.since(0)] == [
        ("500", None, None),
        ("200", 2, 3),
    ]
    assert (numbers, [one.number for one in run.log.since(1)]) == ([1, 2], [2])


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (['{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}'], (3, 4)),
        ([{"usage": {"input": 5, "output": 6}}, {"usage": {"input": 5, "output": 9}}], (5, 9)),
        (['data: {"usage":{"input_tokens":1,"output_tokens":2}}\n\n'], (1, 2)),
        ([chunk("a"), chunk("b"), chunk("c"), chunk("d")], (None, 2)),
        (['{"data": []}'], (None, None)),
        ([b"", None, 7], (None, None)),
    ],
)
def test_tokens_are_read_from_the_workers_output(outputs: list[Any], expected: tuple[int | None, int | None]) -> None:
    """OpenAI, native, Anthropic; without a usage, a stream's events are counted."""
    usage = Usage()
    for output in outputs:
        usage.read(output)
    assert (usage.tokens_in, usage.generated) == expected


@pytest.mark.parametrize(
    ("text", "route"),
    [
        (b'{"openai_route": "/v1/models"}', "/v1/models"),
        (b'{"openai_input": {}, "openai_route": "/v1/score"}', "/v1/score"),
        (b'{"prompt": "a"}', "native"),
        (b"7", "native"),
        (b"not json", "native"),
    ],
)
def test_the_route_is_what_the_job_names(text: bytes, route: str) -> None:
    """A job without one is a native job."""
    assert route_of(text) == route


ROW = RequestRecord(
    *(1, 0.0, "local", "sync-1", ROUTE, "200", "worker-1", 0.0, 0.12, 1.0, 12, 45, False, 45.0, ""),
)


def test_a_line_has_colours_only_where_they_are_wanted_and_never_controls_the_terminal() -> None:
    """A hint comes from a request, so it may contain anything."""
    from dataclasses import replace

    plain = request_line(ROW, LineStyle()).split("  ", 1)[1]
    assert plain == (
        f"200  {ROUTE}  worker-1  wait 0.00 s  first 0.12 s  total 1.00 s  12 → 45 tokens  45.0/s  sync-1"
    )
    hostile = replace(
        ROW, status="404", hint="no \x1b]0;title\x07 model\n", tokens_in=None, first_s=None, estimated=True
    )
    line, hint = request_line(hostile, LineStyle()).split("\n")
    assert "first –" in line
    assert "– → ~45 tokens  ~45.0/s" in line
    assert hint.strip() == "no  ]0;title  model"
    assert "\x1b[31m404\x1b[0m" in request_line(hostile, LineStyle(colour=True))
