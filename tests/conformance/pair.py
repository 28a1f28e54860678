"""The two workers, each behind a recorder of its own on an endpoint of its own of the same gateway."""

from __future__ import annotations

import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.attached import gateway_process, worker_environment
from tests.support.engines.recorder import Recorder, recording
from tests.support.paths import SDK_PYTHON
from tests.support.processes import Process, running

HERE = Path(__file__).resolve().parent
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


@dataclass(frozen=True, slots=True)
class Side:
    """One worker: its recorder, its process, and a client's view of its endpoint."""

    recorder: Recorder
    process: Process

    def ask(self, path: str, body: Any = None) -> Any:
        """A client's request."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.recorder.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def run(self, job: dict[str, Any]) -> str:
        """Submit a job; its id."""
        return str(self.ask("/run", job)["id"])

    def end(self, job_id: str) -> dict[str, Any]:
        """The client's view of a job once it has ended, without what differs between any two runs."""
        while (found := self.ask(f"/status-sync/{job_id}?wait=5000"))["status"] not in FINAL:
            pass
        return {name: found[name] for name in ("status", "output", "error") if name in found}

    def posted(self, job_id: str, results: int = 1) -> list[tuple[str, Any]]:
        """What the worker posted for a job, once there are so many results."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found = self.recorder.about(job_id)
            if sum(operation == "job-done" for operation, _ in found) >= results:
                return found
            time.sleep(0.02)  # the recorder runs in threads of its own
        raise AssertionError(f"no result was posted: {self.recorder.about(job_id)}")


@dataclass(frozen=True, slots=True)
class Pair:
    """The official worker and ours."""

    sdk: Side
    own: Side


@contextmanager
def attached_pair() -> Iterator[Pair]:
    """Both workers, ready."""
    with ExitStack() as stack:
        # Two gateways of one kind: an endpoint each would share its jobs among both workers.
        home = stack.enter_context(tempfile.TemporaryDirectory())
        sides = []
        for worker_id, python in (("sdk", SDK_PYTHON), ("own", sys.executable)):
            endpoint = stack.enter_context(gateway_process())
            recorder = stack.enter_context(recording(endpoint))
            environment = {
                **worker_environment(recorder.url, worker_id),
                "HOME": home,
                "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
                "RUNPOD_SKIP_GPU_CHECK": "true",
                "RUNPOD_LOG_LEVEL": "INFO",
            }
            if worker_id == "own":
                environment = {k: v for k, v in environment.items() if not k.startswith("RUNPOD_SKIP")}
            process = stack.enter_context(running([str(python), str(HERE / f"{worker_id}_worker.py")], environment))
            sides.append(Side(recorder, process))
        pair = Pair(*sides)
        for side in sides:
            side.end(side.run({"input": {"steps": [{"say": "ready"}]}}))
        yield pair
