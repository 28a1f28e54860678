"""The official SDK's worker and ours play the same jobs; what reached the wire and the client is compared.

Where the two differ on purpose, the difference has a name and a reason in `DIFFERENCES`, and a test that shows it.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conformance.pair import SDK_PYTHON, Pair, Side, attached_pair

pytestmark = [
    pytest.mark.sdk,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not SDK_PYTHON.exists(), reason="the SDK's environment is not there: make setup-sdk"),
]

DIFFERENCES = {
    "result only": "a job that was not asked to stream posts its result alone: unread pieces would cost a POST each",
    "merged text": "text that is ready together travels together: one POST per event does not keep up with an engine",
    "json errors": "an error is the JSON of the OpenAI error object: a traceback is of no use to a client",
    "error values": "a value with an `error` key is a value: whether a job failed is decided by who made it",
    "content type": "bodies have the content type JSON: the SDK posts JSON as a form",
    "refused piece": "a piece refused with 429 is sent again: the SDK drops it and the stream has a hole",
    "refused result": "a result is sent until it is accepted: the SDK gives up after three, and the job runs twice",
    "late job": "a job that arrives during a drain is run: the SDK takes it and forgets it",
    "request id": "no X-Request-ID: the SDK sends that of whatever job was last posted",
}


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with attached_pair() as up:
        yield up


def both(pair: Pair, play: Callable[[Side], Any]) -> tuple[Any, Any]:
    """What the same play shows on the SDK's side and on ours, played at the same time."""
    with ThreadPoolExecutor(2) as threads:
        sdk, own = threads.map(play, (pair.sdk, pair.own))
    return sdk, own


def played(steps: list[Any], **job: Any) -> Callable[[Side], tuple[Any, Any]]:
    """A play of one job: what the worker posted, and how it ended for the client."""

    def play(side: Side) -> tuple[Any, Any]:
        job_id = side.run({"input": {"steps": steps, **job}})
        end = side.end(job_id)
        return side.posted(job_id), end

    return play


PAUSE = {"pause_s": 0.3}


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [{"say": "data: 1\n\n"}],
        [{"say": "data: 1\n\n"}, PAUSE, {"say": "data: 2\n\n"}, PAUSE, {"say": "data: [DONE]\n\n"}],
        [{"say": {"choices": [{"tokens": [str(n)]}]}} for n in range(5)],
        [{"say": "é \u2028 \U0001f600 \\ \" \x07"}, PAUSE, {"say": {"é": [None, True, 1.5, 12345678901234567890]}}],
        [{"say": "x" * 300_000}],
    ],
    ids=["nothing", "one event", "events over time", "items", "characters", "large"],
)  # fmt: skip
def test_the_same_traffic_and_the_same_result(pair: Pair, steps: list[Any]) -> None:
    """Pieces one by one in order, then the result with all of them; the client sees the same."""
    sdk, own = both(pair, played(steps))
    assert own == sdk
    assert own[1]["status"] == "COMPLETED"


def test_requests_have_the_same_parameters(pair: Pair) -> None:
    """Every operation, with the same names in its query; take and batch differ by the count alone."""
    both(pair, played([{"say": "a"}, {"pause_s": 1.5}]))

    def names(side: Side) -> dict[str, set[frozenset[str]]]:
        found: dict[str, set[frozenset[str]]] = {}
        for request in list(side.recorder.said):
            found.setdefault(request.operation, set()).add(frozenset(request.query))
        return found

    sdk, own = names(pair.sdk), names(pair.own)
    for operation in ("job-take-batch", "job-stream", "job-done", "job-stop", "ping"):
        assert own[operation] == sdk[operation], operation


def test_a_cancelled_job_posts_nothing_more(pair: Pair) -> None:
    """The pieces so far, no result; the client sees CANCELLED."""

    def play(side: Side) -> tuple[Any, Any]:
        job_id = side.run({"input": {"steps": [{"say": "a"}, {"pause_s": 2.0}, {"say": "b"}]}})
        while not side.recorder.about(job_id):
            pass
        side.ask(f"/cancel/{job_id}", {})
        side.end(side.run({"input": {"steps": [{"pause_s": 2.5}]}}))
        return side.recorder.about(job_id), side.end(job_id)

    sdk, own = both(pair, play)
    assert own == sdk == ([("job-stream", {"output": "a"})], {"status": "CANCELLED"})


def test_many_jobs_at_once_each_get_their_own_answer(pair: Pair) -> None:
    """Forty jobs, all in one go."""

    def play(side: Side) -> list[Any]:
        job_ids = [side.run({"input": {"steps": [{"pause_s": 0.1}, {"say": {"n": n}}]}}) for n in range(40)]
        return [side.end(job_id) for job_id in job_ids]

    sdk, own = both(pair, play)
    assert own == sdk == [{"status": "COMPLETED", "output": [{"n": n}]} for n in range(40)]


def result_only(sdk: Any, own: Any) -> None:
    assert sdk[0] == [("job-stream", {"output": {"a": 1}}), ("job-done", {"output": [{"a": 1}]})]
    assert own[0] == [("job-done", {"output": [{"a": 1}]})]
    assert own[1] == sdk[1]


def merged_text(sdk: Any, own: Any) -> None:
    assert [body["output"] for _, body in sdk[0][:-1]] == ["a", "b", "c"]
    assert own[0] == [("job-stream", {"output": "abc"}), ("job-done", {"output": ["abc"]})]


def json_errors(sdk: Any, own: Any) -> None:
    assert sdk[1]["status"] == own[1]["status"] == "FAILED"
    assert "Traceback" in sdk[1]["error"] or "traceback" in sdk[1]["error"]
    assert json.loads(own[1]["error"]) == {
        "message": "internal error of the worker: RuntimeError: boom",
        "type": "InternalServerError",
        "param": None,
        "code": 500,
    }


def error_values(sdk: Any, own: Any) -> None:
    assert (sdk[1]["status"], own[1]["status"]) == ("FAILED", "COMPLETED")
    assert sdk[1]["error"] == "{'message': 'no'}"
    assert own[1]["output"] == [{"error": {"message": "no"}}]


@pytest.mark.parametrize(
    ("difference", "steps", "job"),
    [
        (result_only, [{"say": {"a": 1}}], {"stream": False}),
        (merged_text, [{"say": "a"}, {"say": "b"}, {"say": "c"}], {}),
        (json_errors, [{"raise": "boom"}], {}),
        (error_values, [{"say": {"error": {"message": "no"}}}], {}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_intended_differences(pair: Pair, difference: Callable[[Any, Any], None], steps: Any, job: Any) -> None:
    """Each deviation is exactly as documented."""
    difference(*both(pair, played(steps, **job)))


def test_intended_difference_headers(pair: Pair) -> None:
    """The SDK's headers and this worker's, which are correct."""
    both(pair, played([{"say": "a"}]))
    both(pair, played([{"say": "a"}]))

    def of(side: Side, name: str, operation: str) -> set[str | None]:
        return {request.headers.get(name) for request in list(side.recorder.said) if request.operation == operation}

    assert of(pair.sdk, "Content-Type", "job-done") == {"application/x-www-form-urlencoded"}
    assert of(pair.own, "Content-Type", "job-done") == {"application/json"}
    assert len(of(pair.sdk, "X-Request-ID", "job-take-batch")) > 1
    assert of(pair.own, "X-Request-ID", "job-take-batch") == {None}
    for operation in ("job-take-batch", "job-stream", "job-done"):
        assert of(pair.own, "Authorization", operation) == of(pair.sdk, "Authorization", operation) == {"key"}


def test_intended_difference_refused_piece(pair: Pair) -> None:
    """429 on a piece."""

    def play(side: Side) -> Any:
        side.recorder.refuse["job-stream"] = [429]
        return played([{"say": "a"}, PAUSE, {"say": "b"}])(side)

    sdk, own = both(pair, play)
    pieces = [[body["output"] for operation, body in posted if operation == "job-stream"] for posted, _ in (sdk, own)]
    assert pieces == [["a", "b"], ["a", "a", "b"]]


def test_intended_difference_refused_result(pair: Pair) -> None:
    """Three times 502 on a result."""

    def play(side: Side) -> list[str]:
        side.recorder.refuse["job-done"] = [502] * 3
        job_id = side.run({"input": {"steps": [{"say": "a"}]}})
        return [operation for operation, _ in side.posted(job_id, results=4)]

    sdk, own = both(pair, play)
    once = ["job-stream", "job-done", "job-done", "job-done"]
    assert (sdk, own) == ([*once, "job-stream", "job-done"], [*once, "job-done"])


def test_intended_difference_late_job() -> None:
    """SIGTERM while a job is on its way to a worker whose poll is out."""
    with attached_pair() as pair:

        def play(side: Side) -> str:
            side.process.signal(signal.SIGTERM)
            time.sleep(0.5)  # the SDK looks at its stop flag ten times a second
            job_id = side.run({"input": {"steps": [{"say": "a"}]}})
            return str(side.ask(f"/status-sync/{job_id}?wait=4000")["status"])

        sdk, own = both(pair, play)
    assert own == "COMPLETED"
    assert sdk in ("IN_PROGRESS", "IN_QUEUE")


def test_no_more_than_ten_differences() -> None:
    """Each with its reason."""
    assert len(DIFFERENCES) <= 10
    assert all(reason for reason in DIFFERENCES.values())
