"""What the worker itself answers over HTTP: the state of the engine as status, headers and body. Pure.

RunPod's load balancer reads the health path: 204 while a worker initialises, 200 while it may get requests, anything
else takes it out of routing; it measures a cold start from the first 204 to the first 200. Kubernetes counts 204 as
success, so `/health/ready` answers 503 until the engine serves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus

LIVE_PATH = "/health/live"
READY_PATH = "/health/ready"
PHASE_HEADER = "X-Worker-Phase"
REMAINING_HEADER = "X-Worker-Remaining-Seconds"
RETRY_AFTER_S = 5  # where no estimate is known
LONGEST_RETRY_AFTER_S = 60
# Rough share of a start that is over when a phase of vLLM 0.32 begins; it shapes an estimate and decides nothing.
SHARE_DONE = {
    "import": 0.0,
    "resolve": 0.3,
    "processes": 0.35,
    "load": 0.5,
    "compile": 0.65,
    "profile": 0.75,
    "graphs": 0.8,
    "prepare": 0.92,
    "serve": 0.95,
    "ready": 0.98,
}
TYPICAL_START_S = 60.0  # until the first phase is over, where this process has seen no start


class Condition(StrEnum):
    """The condition of the engine, as a client sees it."""

    STARTING = "starting"  # its first start
    READY = "ready"
    DEAD = "dead"  # it ended and is launched again
    STALLED = "stalled"  # it was killed because it made no progress
    DRAINING = "draining"  # the worker got SIGTERM
    REFUSED = "refused"  # these settings cannot work
    GONE = "gone"  # this machine cannot serve


@dataclass(frozen=True, slots=True)
class Report:
    """The state of the engine at one moment; `remaining_s` is the estimate until it serves, where there is one."""

    condition: Condition
    phase: str = ""
    remaining_s: float | None = None
    diagnosis: str = ""


@dataclass(frozen=True, slots=True)
class WebResponse:
    """One complete HTTP response."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def encode(self, *, head_only: bool = False) -> bytes:
        """The bytes of the response; they announce that the connection is closed after it."""
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.status != HTTPStatus.NO_CONTENT:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + (b"" if head_only else self.body)


def respond(method: str, target: str, report: Report, health_path: str) -> WebResponse:
    """The response to any request that reaches the worker and not the engine's own server."""
    path = target.partition("?")[0]
    if path in (LIVE_PATH, READY_PATH, health_path):
        if method not in ("GET", "HEAD", "POST"):
            return WebResponse(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD, POST"})
        if path == LIVE_PATH:
            return live()
        return health(report, starting=HTTPStatus.NO_CONTENT if path == health_path else None)
    return unavailable(report)


def live() -> WebResponse:
    """The response of a worker that runs, whatever its engine does: a restart by Kubernetes would help nothing."""
    return as_json(HTTPStatus.OK, {"status": "live"}, {})


def health(report: Report, *, starting: HTTPStatus | None) -> WebResponse:
    """200 while the engine serves, else 503 with the diagnosis; `starting` replaces 503 during the first start."""
    if report.condition is Condition.READY:
        return as_json(HTTPStatus.OK, {"status": str(report.condition)}, {})
    headers = progress_headers(report)
    if report.condition is Condition.STARTING and starting is HTTPStatus.NO_CONTENT:
        return WebResponse(starting, headers)
    body = {"status": str(report.condition), "phase": report.phase, "message": sentence(report)}
    return as_json(HTTPStatus.SERVICE_UNAVAILABLE, body, headers)


def unavailable(report: Report) -> WebResponse:
    """503 as an OpenAI error, with the phase, the estimate and Retry-After."""
    error = {"message": sentence(report), "type": "service_unavailable", "param": None, "code": 503}
    headers = {**progress_headers(report), "Retry-After": str(retry_after_s(report))}
    return as_json(HTTPStatus.SERVICE_UNAVAILABLE, {"error": error}, headers)


def progress_headers(report: Report) -> dict[str, str]:
    """The phase and the remaining seconds of a start, where they are known."""
    headers = {PHASE_HEADER: report.phase} if report.phase else {}
    if report.remaining_s is not None:
        headers[REMAINING_HEADER] = str(math.ceil(report.remaining_s))
    return headers


def retry_after_s(report: Report) -> int:
    """Whole seconds after which a client should repeat its request."""
    if report.remaining_s is None:
        return RETRY_AFTER_S
    return max(1, min(LONGEST_RETRY_AFTER_S, math.ceil(report.remaining_s)))


def sentence(report: Report) -> str:
    """Why no request is served now, and what to do."""
    if report.condition is Condition.DRAINING:
        return "this worker is stopping and takes no new requests: send the request again, another worker serves it"
    if report.condition is Condition.READY:
        return "the engine takes over this port: send the request again"
    if report.condition in (Condition.REFUSED, Condition.GONE):
        return report.diagnosis or "the engine cannot serve: see the worker's log"
    estimate = "" if report.remaining_s is None else f", about {math.ceil(report.remaining_s)} s remain"
    phase = f" ({report.phase}{estimate})" if report.phase else ""
    cause = f"{report.diagnosis}; " if report.diagnosis else ""
    return f"{cause}the engine is starting{phase}: send the request again after Retry-After seconds"


def as_json(status: HTTPStatus, value: object, headers: Mapping[str, str]) -> WebResponse:
    """A response with a JSON body; health is never cached."""
    fixed = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return WebResponse(status, {**fixed, **headers}, json.dumps(value).encode())


def estimate_remaining_s(phase: str, elapsed_s: float, previous_s: float | None) -> float:
    """Seconds until a start is over: by the duration of the previous start, else by the phase's usual share."""
    if previous_s is not None:
        return max(1.0, previous_s - elapsed_s)
    done = SHARE_DONE.get(phase, 0.0)
    whole_s = elapsed_s / done if done else max(TYPICAL_START_S, 1.2 * elapsed_s)
    return max(1.0, whole_s - elapsed_s)
