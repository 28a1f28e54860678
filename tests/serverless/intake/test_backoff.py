"""How long the worker waits before it asks the platform again."""

from __future__ import annotations

import pytest

from worker_vllm.serverless.http.connection import PlatformAnswer
from worker_vllm.serverless.intake.backoff import PollBackoff, is_not_accepted, may_succeed_later, retry_after_s

EMPTY_BACKOFF, BUSY_BACKOFF, FAILURE_BACKOFF = PlatformAnswer(204), PlatformAnswer(429), PlatformAnswer(502)


def pauses(*answers: PlatformAnswer | None, held_s: float = 0.0) -> list[float]:
    """The pause after each of the answers, with jitter at its largest."""
    pace = PollBackoff(lambda: 1.0)
    return [round(pace.after(answer, held_s), 4) for answer in answers]


def test_an_answer_that_was_held_back_is_followed_at_once() -> None:
    """A platform that long-polls is never made to wait for us."""
    assert pauses(EMPTY_BACKOFF, EMPTY_BACKOFF, PlatformAnswer(400), held_s=5.0) == [0, 0, 0]


def test_a_platform_that_answers_empty_at_once_is_asked_twice_a_second_in_the_end() -> None:
    """Growing from 10 ms, so that a job which comes right now is not slept through."""
    found = pauses(*[EMPTY_BACKOFF] * 15)
    assert found[:3] == [0.01, 0.015, 0.0225]
    assert found[-1] == 0.5
    assert found == sorted(found)


def test_failures_are_backed_off_with_jitter_and_bounded() -> None:
    """No answer, 5xx and 429 have their own curves; a change of cause starts anew."""
    assert pauses(None, None, None) == [0.1, 0.2, 0.4]
    assert pauses(*[None] * 20)[-1] == 5.0
    assert pauses(BUSY_BACKOFF, BUSY_BACKOFF, FAILURE_BACKOFF, BUSY_BACKOFF) == [1.0, 2.0, 0.1, 1.0]
    low = PollBackoff(lambda: 0.0)
    assert low.after(None, 0.0) == 0.05


NAMED = {
    "7": 7.0,
    "1.5": 1.5,
    "9000": 60.0,
    "Thu, 01 Jan 1970 00:01:00 GMT": 50.0,
    "Thu, 01 Jan 1970 00:00:05 GMT": 0.0,
    "Thu, 01 Jan 2970 00:00:00 GMT": 60.0,
    "Fri, 31 Dec": 0.0,
    "Fri, 31 Dec 99999999999 00:00:00 GMT": 0.0,
    "": 0.0,
    "-1": 0.0,
    "nan": 0.0,
    "1e9": 0.0,
    "\xb2": 0.0,
    "\xff\x00": 0.0,
    "9" * 5000: 0.0,
}


@pytest.mark.parametrize(("text", "expected_s"), NAMED.items(), ids=lambda value: repr(value)[:30])
def test_a_named_pause_is_kept_within_bounds(text: str, expected_s: float) -> None:
    """Retry-After counts up to a minute, in seconds or as a date; an unreadable value counts as absent."""
    assert retry_after_s(PlatformAnswer(429, head=f"\r\nRETRY-After: {text}"), clock=lambda: 10.0) == expected_s


def test_a_named_pause_is_kept_when_polling() -> None:
    """A date counts from the answer's own date, not from the local clock."""
    assert pauses(PlatformAnswer(429, head="\r\nRetry-After: 7")) == [7.0]
    dates = "\r\nDate: Thu, 01 Jan 1970 00:01:00 GMT\r\nRetry-After: Thu, 01 Jan 1970 00:01:20 GMT"
    assert pauses(PlatformAnswer(503, head=dates)) == [20.0]


def test_success_starts_anew() -> None:
    """After a job the next empty answer is followed soon."""
    pace = PollBackoff(lambda: 1.0)
    for _ in range(10):
        pace.after(EMPTY_BACKOFF, 0.0)
    pace.reset()
    assert pace.after(EMPTY_BACKOFF, 0.0) == 0.01


@pytest.mark.parametrize(
    ("status", "piece", "result"),
    [
        (425, True, True),
        (429, True, True),
        (503, True, True),
        (500, False, True),
        (502, False, True),
        (504, False, True),
        (524, False, True),
        (401, False, True),
        (408, False, True),
        (302, False, True),
        (400, False, False),
        (404, False, False),
    ],
)
def test_which_refusals_are_for_now(status: int, piece: bool, result: bool) -> None:
    """A piece is only repeated when it was provably not accepted; a result may be repeated without harm."""
    assert (is_not_accepted(status), may_succeed_later(status)) == (piece, result)
