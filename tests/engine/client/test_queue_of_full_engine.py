"""An engine whose queue is full is waited for; any other answer passes through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from worker_vllm.engine.client.retry_when_full import RetryWhenFull
from worker_vllm.engine.interface import EngineRequest, EngineResponse

ASK = EngineRequest("POST", "/v1/completions", b"{}")


class Response:
    """An answer that knows whether it was closed."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {}
        self.closed = False

    def chunks(self) -> AsyncIterator[bytes]:
        raise AssertionError("this is never read")

    async def read(self) -> bytes:
        return b""

    def close(self) -> None:
        self.closed = True


class Engine:
    """Answers with these statuses in order."""

    def __init__(self, *statuses: int) -> None:
        self.answers = [Response(status) for status in statuses]
        self.asked = 0

    async def request(self, request: EngineRequest) -> EngineResponse:
        self.asked += 1
        return self.answers[self.asked - 1]


async def test_a_full_queue_is_asked_again() -> None:
    """Each refusal is closed and counted; the caller gets the last answer."""
    refusals: list[int] = []
    engine = Engine(503, 429, 200)
    retrying = RetryWhenFull(engine, lambda: refusals.append(engine.asked), lambda: 0.0)
    assert (await retrying.request(ASK)).status == 200
    assert refusals == [1, 2]
    assert [answer.closed for answer in engine.answers] == [True, True, False]


async def test_other_errors_pass_through() -> None:
    """400 and 500 are answers."""
    for status in (400, 404, 500):
        retrying = RetryWhenFull(Engine(status), lambda: None, lambda: 0.0)
        assert (await retrying.request(ASK)).status == status
