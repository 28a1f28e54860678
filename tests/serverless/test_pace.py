"""How long the worker waits before it asks the platform again."""

from __future__ import annotations

import pytest

from worker_vllm.serverless.exchange import Answer
from worker_vllm.serverless.pace import PollPace, is_refused_for_now, retry_after_s

EMPTY, BUSY, BROKEN = Answer(204), Answer(429), Answer(502)


def pauses(*answers: Answer | None, held_s: float = 0.0) -> list[float]:
    """The pause after each of the answers, with jitter at its largest."""
    pace = PollPace(lambda: 1.0)
    return [round(pace.after(answer, held_s), 4) for answer in answers]


def test_an_answer_that_was_held_back_is_followed_at_once() -> None:
    """A platform that long-polls is never made to wait for us."""
    assert pauses(EMPTY, EMPTY, Answer(400), held_s=5.0) == [0, 0, 0]


def test_a_platform_that_answers_empty_at_once_is_asked_twice_a_second_in_the_end() -> None:
    """Growing from 10 ms, so that a job which comes right now is not slept through."""
    found = pauses(*[EMPTY] * 15)
    assert found[:3] == [0.01, 0.015, 0.0225]
    assert found[-1] == 0.5
    assert found == sorted(found)


def test_failures_are_backed_off_with_jitter_and_bounded() -> None:
    """No answer, 5xx and 429 have their own curves; a change of cause starts anew."""
    assert pauses(None, None, None) == [0.1, 0.2, 0.4]
    assert pauses(*[None] * 20)[-1] == 5.0
    assert pauses(BUSY, BUSY, BROKEN, BUSY) == [1.0, 2.0, 0.1, 1.0]
    low = PollPace(lambda: 0.0)
    assert low.after(None, 0.0) == 0.05


def test_a_named_pause_is_kept_within_bounds() -> None:
    """Retry-After in seconds counts up to a minute; dates and nonsense do not."""
    assert pauses(Answer(429, head="\r\nRetry-After: 7")) == [7.0]
    assert retry_after_s(Answer(429, head="\r\nretry-after: 9000")) == 60.0
    assert retry_after_s(Answer(503, head="\r\nretry-after: Fri, 31 Dec")) == 0.0


def test_success_starts_anew() -> None:
    """After a job the next empty answer is followed soon."""
    pace = PollPace(lambda: 1.0)
    for _ in range(10):
        pace.after(EMPTY, 0.0)
    pace.useful()
    assert pace.after(EMPTY, 0.0) == 0.01


@pytest.mark.parametrize(("status", "again"), [(429, True), (500, True), (401, True), (400, False), (404, False)])
def test_which_refusals_are_for_now(status: int, again: bool) -> None:
    """Those that say nothing was accepted and may go away."""
    assert is_refused_for_now(status) is again
