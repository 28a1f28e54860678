"""Native jobs as a client of the endpoint sees them."""

from __future__ import annotations

from typing import Any

from tests.support.http import Http

UNFINISHED = ("IN_QUEUE", "IN_PROGRESS")


async def finished(http: Http, job_input: dict[str, Any]) -> dict[str, Any]:
    """Submit a job; its status once it has ended, however long that takes."""
    job_id = (await http.post("/run", {"input": job_input})).json["id"]
    while True:
        answer: dict[str, Any] = (await http.get(f"/status/{job_id}?wait=5000")).json
        if answer["status"] not in UNFINISHED:
            return answer
