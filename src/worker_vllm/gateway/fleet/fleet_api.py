"""The HTTP form of `FleetControl`, without a server: method, path and query in, status and payload out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeAlias

from worker_vllm.errors import NotFound, RequestError
from worker_vllm.gateway.fleet.fleet_control import FleetControl, WorkerOperation, unknown_worker

PREFIX = "/console/api/workers"

JsonAnswer: TypeAlias = tuple[int, dict[str, Any]]


async def answer(control: FleetControl, method: str, path: str, query: Mapping[str, str]) -> JsonAnswer:
    """Serve one request below PREFIX. Raises RequestError and NotFound, which the caller turns into an answer."""
    worker_id, _, action = path.removeprefix(PREFIX).strip("/").partition("/")
    if action in tuple(WorkerOperation):
        _expect(method, "POST", path)
        await control.operate(worker_id, WorkerOperation(action))
        return 202, {"id": worker_id, "operation": action}
    if action not in ("", "log"):
        raise NotFound(f"{path}: expected log, or one of {', '.join(WorkerOperation)}, after the worker's id")
    _expect(method, "GET", path)
    if action == "log":
        return 200, _log(control, worker_id, query)
    report = control.report().to_json()
    if not worker_id:
        return 200, report
    found = next((worker for worker in report["workers"] if worker["id"] == worker_id), None)
    if found is None:
        raise unknown_worker(worker_id)
    return 200, found


def _log(control: FleetControl, worker_id: str, query: Mapping[str, str]) -> dict[str, Any]:
    text = query.get("after", "0")
    if not text.isdecimal():
        raise RequestError(f'after="{text}": expected the number of a line, as `next` of the answer before gives it')
    lines = control.log(worker_id, int(text))
    return {"lines": [asdict(line) for line in lines], "next": lines[-1].number if lines else int(text)}


def _expect(method: str, expected: str, path: str) -> None:
    if method != expected:
        raise RequestError(f"{path}: got {method}, expected {expected}", status=405)
