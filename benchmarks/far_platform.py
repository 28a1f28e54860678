"""A platform far away: every POST takes 80 ms. How long do 60 tokens take that the engine makes in 0.3 s?

With `--sdk` the official SDK's worker, in its own environment, yields the same tokens one by one; both take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.record import Report, Table, add_output, deliver
from tests.support.attached import gateway_process, worker_environment, worker_process
from tests.support.paths import SDK_PYTHON, SDK_WORKER
from tests.support.processes import running

OWN, SDK = "this worker", "SDK, token by token"
Seen = tuple[float, float, int]  # seconds to the first token and to the end, and pieces
Attached = AbstractContextManager[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Distance:
    """So many tokens, so far apart in time, to a platform so far away (seconds)."""

    tokens: int
    token_s: float
    post_s: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks far_platform", description=__doc__)
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--token-ms", type=float, default=5.0)
    parser.add_argument("--post-ms", type=float, default=80.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sdk", action="store_true", help="measure the official SDK's worker too")
    add_output(parser)
    given = parser.parse_args()
    distance = Distance(given.tokens, given.token_ms / 1000, given.post_ms / 1000)
    attached = {OWN: own, SDK: sdk} if given.sdk else {OWN: own}
    rounds: dict[str, list[Seen]] = {name: [] for name in attached}
    with contextlib.ExitStack() as started:
        asked = {name: started.enter_context(far(worker, distance)) for name, worker in attached.items()}
        for _ in range(given.rounds):
            for name, (url, job) in asked.items():
                rounds[name].append(stream(url, job))
    lines = [line(name, found, rounds[OWN]) for name, found in rounds.items()]
    head = ["", "first token", f"all {given.tokens} tokens", "pieces", f"all tokens / {OWN}"]
    title = f"Every POST takes {given.post_ms:.0f} ms: medians of {given.rounds} rounds"
    deliver(Report("far_platform", [Table(title, head, lines)], rounds), given)


@contextmanager
def far(worker: Callable[[str, Distance], Attached], distance: Distance) -> Iterator[tuple[str, dict[str, Any]]]:
    """A worker at a gateway of its own that is far away; the endpoint's address, and the job that streams the tokens.

    One job has run before the gateway moves away.
    """
    with gateway_process("--faults") as url, worker(url, distance) as job:
        stream(url, job)
        rules = [{"route": route, "latency_s": distance.post_s} for route in ("job-stream", "job-done")]
        ask(url.split("/v2/")[0] + "/faults", {"seed": 1, "rules": rules})
        yield url, job


def line(name: str, found: list[Seen], beside: list[Seen]) -> list[str]:
    """A row of the table."""
    first, whole, pieces = (median(row[n] for row in found) for n in range(3))
    ratio = median(row[1] / other[1] for row, other in zip(found, beside, strict=True))
    return [name, f"{first:.3f} s", f"{whole:.3f} s", f"{pieces:.0f}", f"{ratio:.1f}"]


@contextmanager
def own(url: str, distance: Distance) -> Iterator[dict[str, Any]]:
    """Our worker over the echo engine; the job that streams the tokens."""
    body = {"prompt": "x", "max_tokens": distance.tokens, "ignore_eos": True, "stream": True}
    engine = {"ENGINE": "echo", "ECHO_TPOT_MS": str(distance.token_s * 1000)}
    with worker_process({**worker_environment(url, "own"), **engine}):
        yield {"openai_route": "/v1/completions", "openai_input": body}


@contextmanager
def sdk(url: str, distance: Distance) -> Iterator[dict[str, Any]]:
    """The official SDK's worker, which makes the tokens itself; the job that streams them."""
    steps: list[dict[str, Any]] = []
    for number in range(distance.tokens):
        steps += [{"pause_s": distance.token_s}, {"say": f"data: {number}\n\n"}]
    quiet = {"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", "RUNPOD_SKIP_GPU_CHECK": "true", "RUNPOD_LOG_LEVEL": "INFO"}
    with tempfile.TemporaryDirectory() as home:
        environment = {**worker_environment(url, "sdk"), **quiet, "HOME": home}
        with running([str(SDK_PYTHON), str(SDK_WORKER)], environment):
            yield {"steps": steps}


def ask(url: str, body: Any = None) -> Any:
    """GET, or POST of a body, answered as JSON."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as answer:
        return json.loads(answer.read())


def stream(url: str, job: dict[str, Any]) -> Seen:
    """Run one job and follow its stream: seconds to its first piece, to its end, and its pieces."""
    began = time.perf_counter()
    job_id = ask(f"{url}/run", {"input": job})["id"]
    first, pieces = 0.0, 0
    while True:
        found = ask(f"{url}/stream/{job_id}")
        if found["stream"] and not first:
            first = time.perf_counter() - began
        pieces += len(found["stream"])
        if found["status"] not in ("IN_QUEUE", "IN_PROGRESS"):
            return first, time.perf_counter() - began, pieces
