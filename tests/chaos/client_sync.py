"""A plain client of one endpoint for tests that wait on processes."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


class Endpoint:
    """Blocking calls, answers as JSON."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, body: Any = None) -> Any:
        """GET, or POST of a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def run(self, **job: Any) -> str:
        """Submit a job with this input; its id."""
        return str(self.ask("/run", {"input": job})["id"])

    def end(self, job_id: str) -> dict[str, Any]:
        """The job once it has ended."""
        while (found := self.ask(f"/status-sync/{job_id}?wait=20000"))["status"] not in FINAL:
            pass
        return dict(found)

    def faults(self, *rules: dict[str, Any]) -> None:
        """Replace the gateway's fault plan."""
        request = urllib.request.Request(
            self.url.split("/v2/")[0] + "/faults", json.dumps({"seed": 1, "rules": rules}).encode()
        )
        urllib.request.urlopen(request, timeout=10).close()
