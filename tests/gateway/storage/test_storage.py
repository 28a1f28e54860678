"""What a gateway keeps in its file, and what the next process makes of it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import ANY_ENDPOINT, serving
from tests.gateway.fake_worker import FakeWorker
from tests.support.http import Http
from worker_vllm.gateway.options import FleetPolicy, GatewayOptions
from worker_vllm.gateway.storage.job_file import CannotStore, JobFile
from worker_vllm.gateway.storage.rows import Batch
from worker_vllm.gateway.storage.storage import Storage

RUN = "/v2/local/run"


@asynccontextmanager
async def kept(path: Path | None, **arguments: Any) -> AsyncIterator[Http]:
    """A gateway with this file; it is closed in an orderly way."""
    async with serving(ANY_ENDPOINT, storage=Storage.open(path, **arguments)) as http:
        yield http


async def status(http: Http, job_id: str) -> Any:
    return (await http.get(f"/v2/local/status/{job_id}")).json


async def test_every_state_outlives_the_process(tmp_path: Path) -> None:
    """Queued, running, completed, failed, cancelled; inputs, outputs, errors, counters and forwarded fields."""
    file = tmp_path / "state.db"
    async with kept(file) as http:
        worker = FakeWorker(http)
        for number in range(1, 6):
            await http.post(RUN, {"input": {"n": number}, "s3Config": {"bucketName": "b"}})
        await worker.take_batch(3)
        await worker.done("job1-u1", {"output": {"text": "ä", "n": 1.5}})
        await worker.done("job2-u1", b'{"error": "half an emoji: \\ud83e"}')
        await http.post("/v2/local/cancel/job5-u1")
        before = [await status(http, f"job{number}-u1") for number in range(1, 6)]
        health = (await http.get("/v2/local/health")).json
    async with kept(file) as http:
        assert [await status(http, f"job{number}-u1") for number in range(1, 6)] == before
        assert (await http.get("/v2/local/health")).json["jobs"] == health["jobs"]
        again = FakeWorker(http)
        given = (await again.take()).json
        assert given.pop("delayTime") >= 0
        assert given == {"id": "job4-u1", "retries": 0, "s3Config": {"bucketName": "b"}, "input": {"n": 4}}
        assert (await again.done("job3-u1", {"output": None})).status == 200
        assert (await status(http, "job3-u1"))["output"] is None
        assert (await http.post("/v2/local/retry/job2-u1")).json["status"] == "IN_QUEUE"
    async with kept(file) as http:
        assert await status(http, "job2-u1") == {"id": "job2-u1", "status": "IN_QUEUE"}


async def test_what_is_answered_is_in_the_file(tmp_path: Path) -> None:
    """Accepted, taken, done: each is there when its sender reads the answer. The copy is what a kill leaves."""
    file = tmp_path / "state.db"
    async with kept(file) as http:
        worker = FakeWorker(http)
        steps: list[tuple[Callable[[], Any], str]] = [
            (lambda: http.post(RUN, {"input": 1}), "IN_QUEUE"),
            (worker.take, "IN_PROGRESS"),
            (lambda: worker.done("job1-u1", {"output": 1}), "COMPLETED"),
        ]
        for step, expected in steps:
            assert (await step()).status == 200
            assert [row[0] for row in as_killed(file, tmp_path / f"{expected}.db")] == [expected]


def as_killed(file: Path, copy: Path) -> list[Any]:
    """The jobs' states in a copy of the file and its log, as another process finds them."""
    copy.write_bytes(file.read_bytes())
    copy.with_name(f"{copy.name}-wal").write_bytes(file.with_name(f"{file.name}-wal").read_bytes())
    connection = sqlite3.connect(copy)
    try:
        return connection.execute("SELECT status FROM job").fetchall()
    finally:
        connection.close()


async def test_an_expired_job_leaves_the_file(tmp_path: Path) -> None:
    """Retention holds for the file as for memory: nothing grows without end."""
    file, now = tmp_path / "state.db", [0.0]
    async with serving(ANY_ENDPOINT, storage=Storage.open(file), clock=lambda: now[0]) as http:
        worker = FakeWorker(http)
        await http.post(RUN, {"input": 1})
        await worker.take()
        await worker.done("job1-u1", {"output": 1})
    async with serving(ANY_ENDPOINT, storage=Storage.open(file), clock=lambda: now[0]) as http:
        assert (await status(http, "job1-u1"))["status"] == "COMPLETED"
    stored = JobFile(file)
    assert len(stored.load().jobs) == 1
    stored.close()
    connection = sqlite3.connect(file)
    connection.execute("UPDATE job SET created = created - 9000, ended = ended - 9000")
    connection.commit()
    connection.close()
    async with kept(file) as http:
        while (await http.get("/v2/local/status/job1-u1")).status != 404:
            pass
    stored = JobFile(file)
    assert stored.load().jobs == []
    stored.close()


async def test_a_worker_that_does_not_come_back_loses_its_jobs(tmp_path: Path) -> None:
    """It is given the time of its missed pings; then its job waits again, as a retry."""
    file = tmp_path / "state.db"
    async with kept(file) as http:
        await http.post(RUN, {"input": 1})
        await FakeWorker(http, "gone").take()
        await FakeWorker(http, "gone").ping(["job1-u1"])
    soon = GatewayOptions(fleet=FleetPolicy(ping_interval_s=0.1, least_silence_s=0.2))
    async with serving(soon, storage=Storage.open(file), real_clock=True) as http:
        given = (await FakeWorker(http, "other").take()).json
        assert given.pop("delayTime") > 0
        assert given == {"id": "job1-u1", "retries": 1, "input": 1}


async def test_a_state_goes_from_one_gateway_to_another(tmp_path: Path) -> None:
    """Out of memory or a file, into memory or a new file; not into one that has the same jobs."""
    exported = tmp_path / "exported.db"
    async with kept(None, export_to=exported) as http:
        await http.post(RUN, {"input": "kept"})
    async with kept(tmp_path / "new.db", import_from=exported) as http:
        assert (await status(http, "job1-u1"))["status"] == "IN_QUEUE"
    async with kept(tmp_path / "new.db") as http:
        assert (await FakeWorker(http).take()).json["input"] == "kept"
    async with kept(None, import_from=exported) as http:
        assert (await FakeWorker(http).take()).json["input"] == "kept"
    with pytest.raises(CannotStore, match='job "job1-u1" exists already'):
        async with kept(tmp_path / "new.db", import_from=exported):
            pass


def test_a_file_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path) -> None:
    """No database, another format, another gateway's, none at all."""
    text = tmp_path / "text.db"
    text.write_text("hello " * 100)
    with pytest.raises(CannotStore, match="is no state of a gateway"):
        Storage.open(text)
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(CannotStore, match="got format 9, expected 1"):
        Storage.open(other)
    held = JobFile(tmp_path / "held.db")
    with pytest.raises(CannotStore, match="another gateway has this file"):
        Storage.open(tmp_path / "held.db")
    held.close()
    with pytest.raises(CannotStore, match="no such file"):
        Storage.open(None, import_from=tmp_path / "none.db")
    with pytest.raises(CannotStore, match="exists already"):
        Storage.open(None, export_to=text)


class FullFile(JobFile):
    """A file on a disk that is full for a while."""

    full = False

    def write(self, batch: Batch) -> None:
        """Write, where there is room."""
        if self.full:
            raise CannotStore("the disk is full")
        super().write(batch)


async def test_a_full_disk_refuses_what_cannot_be_stored(tmp_path: Path) -> None:
    """The client reads 503 and the reason; what can be stored later is stored then."""
    file = FullFile(tmp_path / "state.db")
    async with serving(ANY_ENDPOINT, storage=Storage(file)) as http:
        file.full = True
        refused = await http.post(RUN, {"input": 1})
        assert (refused.status, refused.json) == (503, {"error": "the job is not stored: the disk is full"})
        file.full = False
        assert (await http.post(RUN, {"input": 2})).status == 200
        assert (await FakeWorker(http).take_batch(9)).json == [
            {"id": "job2-u1", "delayTime": 0, "retries": 0, "input": 2}
        ]
