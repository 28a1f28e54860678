"""The workers API without a server: whole answers, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from worker_vllm.errors import NotFound, RequestError
from worker_vllm.gateway.fleet.fleet_api import answer
from worker_vllm.gateway.fleet.fleet_control import (
    AttachedWorkers,
    FleetEvent,
    FleetReport,
    LogRecord,
    WorkerOperation,
    WorkerState,
    WorkerView,
    unknown_worker,
)

WORKER = WorkerView(
    *("w1", "local", "queue", WorkerState.RUNNING, "loading the weights", 2, 4711, 1.5, 0.75),
    operations=(WorkerOperation.DRAIN, WorkerOperation.KILL, WorkerOperation.FREEZE),
)
WORKER_JSON = {
    "id": "w1",
    "endpoint": "local",
    "kind": "queue",
    "state": "running",
    "phase": "loading the weights",
    "jobs": 2,
    "pid": 4711,
    "started_at": 1.5,
    "cold_start_s": 0.75,
    "idle_s": None,
    "url": "",
    "operations": ("drain", "kill", "freeze"),
}
LINES = [LogRecord(n, float(n), "INFO", f"line {n}", engine=n == 2) for n in (1, 2, 3)]


class OneWorker:
    """A FleetControl with one worker; keeps the operations it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, WorkerOperation]] = []

    def report(self) -> FleetReport:
        return FleetReport(9.0, (WORKER,), ({"endpoint": "local", "wanted": 1},), (FleetEvent(1.5, "w1", "started"),))

    def log(self, worker_id: str, after: int) -> list[LogRecord]:
        return [line for line in LINES if line.number > after]

    async def operate(self, worker_id: str, operation: WorkerOperation) -> None:
        if worker_id != "w1":
            raise unknown_worker(worker_id)
        self.asked.append((worker_id, operation))


ANSWERS: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    (
        "/console/api/workers",
        {},
        {
            "now": 9.0,
            "workers": [WORKER_JSON],
            "scaling": [{"endpoint": "local", "wanted": 1}],
            "events": [{"at": 1.5, "worker_id": "w1", "what": "started", "cause": ""}],
        },
    ),
    ("/console/api/workers/w1", {}, WORKER_JSON),
    (
        "/console/api/workers/w1/log",
        {"after": "1"},
        {
            "lines": [
                {"number": 2, "at": 2.0, "level": "INFO", "message": "line 2", "engine": True},
                {"number": 3, "at": 3.0, "level": "INFO", "message": "line 3", "engine": False},
            ],
            "next": 3,
        },
    ),
    ("/console/api/workers/w1/log", {"after": "3"}, {"lines": [], "next": 3}),
]


@pytest.mark.parametrize(("path", "query", "payload"), ANSWERS)
async def test_what_can_be_read(path: str, query: dict[str, str], payload: dict[str, Any]) -> None:
    """The report, one worker of it, its log from a line on."""
    assert await answer(OneWorker(), "GET", path, query) == (200, payload)


@pytest.mark.parametrize("operation", list(WorkerOperation))
async def test_what_can_be_done(operation: WorkerOperation) -> None:
    """Each operation reaches the fleet once and is accepted."""
    fleet = OneWorker()
    path = f"/console/api/workers/w1/{operation}"
    assert await answer(fleet, "POST", path, {}) == (202, {"id": "w1", "operation": operation})
    assert fleet.asked == [("w1", operation)]


REFUSED = [
    ("GET", "/console/api/workers/w1/kill", 405),
    ("POST", "/console/api/workers", 405),
    ("DELETE", "/console/api/workers/w1", 405),
    ("GET", "/console/api/workers/w2", 404),
    ("POST", "/console/api/workers/w2/kill", 404),
    ("POST", "/console/api/workers/w1/paint", 404),
    ("GET", "/console/api/workers/w1/log", 400),
]


@pytest.mark.parametrize(("method", "path", "status"), REFUSED)
async def test_what_is_refused(method: str, path: str, status: int) -> None:
    """Another method, an unknown worker or operation, an `after` that is no number."""
    with pytest.raises(RequestError) as caught:
        await answer(OneWorker(), method, path, {"after": "x"})
    assert caught.value.status == status


async def test_workers_of_others_are_listed_and_left_alone() -> None:
    """A gateway without processes of its own."""
    fleet = AttachedWorkers(lambda: [WORKER], lambda: 3.0)
    assert fleet.report() == FleetReport(3.0, (WORKER,))
    assert fleet.log("w1", 0) == []
    with pytest.raises(RequestError, match="not a process of this gateway: freeze it where it runs") as caught:
        await fleet.operate("w1", WorkerOperation.FREEZE)
    assert caught.value.status == 409
    with pytest.raises(NotFound):
        await fleet.operate("w2", WorkerOperation.KILL)
