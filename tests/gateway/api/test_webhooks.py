"""A client's webhook gets the final status, and three tries."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.conftest import Open, serving
from tests.gateway.fake_worker import FakeWorker
from tests.support.webhook_receiver import Receiver, receiving
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.state.job import WebhookAttempt
from worker_vllm.gateway.storage.storage import Storage
from worker_vllm.gateway.webhooks import Webhooks


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that is served."""
    async with receiving() as receiver:
        yield receiver


async def test_a_webhook_is_tried_until_it_answers_200(open_gateway: Open, receiver: Receiver) -> None:
    """Three tries in all, each with the whole status object."""
    receiver.answers = [500, 302]
    http = await open_gateway(GatewayOptions(webhook_pause_s=0.01))
    worker = FakeWorker(http)
    await http.post("/v2/local/run", {"input": 1, "webhook": receiver.url})
    await worker.take()
    await worker.done("job1-u1", {"output": "é"})
    expected = {
        "delayTime": 0,
        "executionTime": 0,
        "id": "job1-u1",
        "output": "é",
        "status": "COMPLETED",
        "workerId": "w1",
    }
    assert [await receiver.got.get() for _ in range(3)] == [expected] * 3
    assert receiver.got.empty()


async def test_an_unreachable_webhook_delays_no_other(open_gateway: Open, receiver: Receiver) -> None:
    """A cancelled job's webhook arrives although another's address refuses."""
    http = await open_gateway(GatewayOptions(webhook_pause_s=0.01))
    await http.post("/v2/local/run", {"input": 1, "webhook": "http://127.0.0.1:9/"})
    await http.post("/v2/local/run", {"input": 1, "webhook": receiver.url})
    for n in (1, 2):
        await http.post(f"/v2/local/cancel/job{n}-u1")
    assert await receiver.got.get() == {"id": "job2-u1", "status": "CANCELLED"}


def due(file: Path, copy: Path) -> bool:
    """Whether a webhook is still to be sent, as another process would find it after a kill."""
    copy.write_bytes(file.read_bytes())
    copy.with_name(f"{copy.name}-wal").write_bytes(file.with_name(f"{file.name}-wal").read_bytes())
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        return bool(connection.execute("SELECT 1 FROM job WHERE webhook_due").fetchall())


async def test_the_next_process_sends_what_this_one_could_not(receiver: Receiver, tmp_path: Path) -> None:
    """Once: what was delivered is not sent again."""
    receiver.answers = [500]
    slow = GatewayOptions(webhook_pause_s=1000)
    file = tmp_path / "state.db"
    async with serving(slow, storage=Storage.open(file)) as http:
        await http.post("/v2/local/run", {"input": 1, "webhook": receiver.url})
        await http.post("/v2/local/cancel/job1-u1")
        first = await receiver.got.get()
    async with serving(slow, storage=Storage.open(file)) as http:
        assert await receiver.got.get() == first == {"id": "job1-u1", "status": "CANCELLED"}
        while (await http.post("/v2/local/run", {"input": 2})).status == 200 and due(file, tmp_path / "copy.db"):
            await asyncio.sleep(0.01)
    async with serving(slow, storage=Storage.open(file)) as http:
        assert (await http.get("/v2/local/status/job1-u1")).status == 200
        assert receiver.got.empty()


async def test_a_webhook_without_room_is_still_due(receiver: Receiver) -> None:
    """It is not sent now, and not given up: the next process sends it."""
    webhooks = Webhooks(pause_s=0.01, max_pending_bytes=10)
    attempts: list[tuple[str, WebhookAttempt]] = []
    webhooks.send(receiver.url, {"id": "a"}, lambda job_id, attempt: attempts.append((job_id, attempt)))
    webhooks.send(receiver.url, {"id": "too large"}, lambda job_id, attempt: attempts.append((job_id, attempt)))
    assert await receiver.got.get() == {"id": "a"}
    while len(attempts) < 2:
        await asyncio.sleep(0)
    assert attempts == [
        ("too large", WebhookAttempt(0, 3, "no room: 1 webhooks are pending")),
        ("a", WebhookAttempt(1, 3, "200")),
    ]
    assert [attempt.last for _, attempt in attempts] == [False, True]
    await webhooks.close()
