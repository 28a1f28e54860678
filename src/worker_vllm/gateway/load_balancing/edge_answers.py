"""What the load balancer answers itself, in RunPod's words where those are known; JSON objects with `error`."""

from __future__ import annotations

from worker_vllm.json_bytes import dump


class EdgeAnswer(Exception):
    """The answer in place of a worker's."""

    def __init__(self, status: int, error: str, code: str = "") -> None:
        super().__init__(error)
        self.status = status
        self.body = dump({"error": error, **({"code": code} if code else {})})


class ResponseCut(Exception):
    """A response that has started cannot be completed; the client's connection must be closed."""


def no_workers() -> EdgeAnswer:
    """No worker came within the wait."""
    return EdgeAnswer(400, "no workers available")


def affinity_timeout() -> EdgeAnswer:
    """The worker of a strict affinity was not ready within the wait."""
    return EdgeAnswer(400, "timed out waiting for worker", "worker_timeout")


def affinity_gone(worker_id: str) -> EdgeAnswer:
    """The worker of a strict affinity does not exist."""
    return EdgeAnswer(404, f'worker "{worker_id}" is gone', "affinity_worker_gone")


def wrong_port(worker_id: str, url: str) -> EdgeAnswer:
    """A worker is healthy, but nothing listens where requests go."""
    return EdgeAnswer(
        502,
        f'worker "{worker_id}" reports healthy, but refuses connections at {url}: it must listen on its PORT',
        "wrong_port",
    )


def worker_lost(worker_id: str, why: str) -> EdgeAnswer:
    """A worker ended before it answered, and the request cannot be sent to another."""
    return EdgeAnswer(502, f'worker "{worker_id}" did not answer: {why}', "worker_lost")


def too_slow(seconds: float) -> EdgeAnswer:
    """A request took longer than the edge waits; the status is Cloudflare's."""
    return EdgeAnswer(524, f"the worker did not answer within {seconds:g} s", "timeout")


def too_large(what: str, limit: int) -> EdgeAnswer:
    """A request, 413, or a response, 502, exceeds the limit."""
    status = 413 if what == "request" else 502
    return EdgeAnswer(status, f"the {what} is larger than {limit} bytes", f"{what}_too_large")


def too_many(waiting: int) -> EdgeAnswer:
    """More requests wait for a worker than may."""
    return EdgeAnswer(429, f"{waiting} requests wait for a worker already; try again later", "too_many_requests")
