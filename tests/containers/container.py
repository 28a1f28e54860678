"""A running container: started in the foreground, so its output is read as any process's, and always removed."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.containers import podman
from tests.support.processes import Process

START_LIMIT_S = 240.0
STOP_LIMIT_S = 40
T = TypeVar("T")


@dataclass(frozen=True)
class Container:
    """One container by its name; `process` is `podman run`, which ends with the container's exit status."""

    name: str
    process: Process

    def execute(self, *words: str, timeout_s: float = 60) -> str:
        """The output of a command inside it, which must succeed."""
        return podman.output("podman", "exec", self.name, *words, timeout_s=timeout_s)

    def state(self) -> dict[str, Any]:
        """What podman says of its state."""
        found: dict[str, Any] = podman.inspect("container", self.name)["State"]
        return found

    def runs(self) -> bool:
        """Whether the container is there and a command can be run in it."""
        return podman.call("podman", "exec", self.name, "true").returncode == 0

    def healthy(self) -> int:
        """The exit status of the image's own health check."""
        return podman.call("podman", "healthcheck", "run", self.name).returncode

    def stop(self, grace_s: int = STOP_LIMIT_S) -> int:
        """`podman stop`; the container's exit status."""
        podman.output("podman", "stop", "--time", str(grace_s), self.name, timeout_s=grace_s + 60)
        return self.process.exit_code(30)

    def kill(self, signal: str) -> None:
        """Send a signal to its first process."""
        podman.output("podman", "kill", "--signal", signal, self.name)

    def published(self, port: int) -> str:
        """Where a published port is on this machine: http://127.0.0.1:port."""

        def mapping() -> str:
            return podman.call("podman", "port", self.name, f"{port}/tcp").stdout.strip()

        return f"http://{until(mapping, 30)}"


@contextlib.contextmanager
def container(
    image: str, variables: Mapping[str, str], options: Sequence[str] = (), command: Sequence[str] = ()
) -> Iterator[Container]:
    """Run an image for the length of the block, configured by variables alone."""
    name = f"wv-{uuid.uuid4().hex[:8]}"
    given = [f"--env={key}={value}" for key, value in variables.items()]
    words = ["podman", "run", f"--name={name}", *podman.run_options(), *options, *given, image, *command]
    process = Process(words, podman.environment())
    try:
        yield Container(name, process)
    finally:
        podman.call("podman", "rm", "--force", "--time", "5", "--volumes", name)
        process.stop()


def until(ask: Callable[[], T | None], limit_s: float = START_LIMIT_S) -> T:
    """The first true answer; AssertionError after the limit."""
    deadline = time.monotonic() + limit_s
    while True:
        if found := ask():
            return found
        assert time.monotonic() < deadline, f"no answer within {limit_s:.0f} s"
        time.sleep(0.1)  # the pace of the question; nothing is decided by it


def send(url: str, body: object | None = None, key: str | None = None) -> tuple[int, Any]:
    """The status and the JSON of one request; (0, reason) when there is no answer."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=START_LIMIT_S) as answer:
            return answer.status, _json(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _json(error.read())
    except OSError as error:
        return 0, str(error)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body or b"null")
    except ValueError:
        return body.decode(errors="replace")


def ask(endpoint: str, text: str, **more: object) -> dict[str, Any]:
    """One chat job through a gateway's endpoint; its final status object."""
    body = {"input": {"openai_route": "/v1/chat/completions", "openai_input": {**chat(text), **more}}}
    status, answer = send(f"{endpoint}/runsync?wait=240000", body)
    assert status == 200, (status, answer)
    job: dict[str, Any] = answer
    status_url = f"{endpoint}/status/{job['id']}"

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = send(status_url)[1]
        return found if found["status"] not in ("IN_QUEUE", "IN_PROGRESS") else None

    return until(ended)


def chat(text: str) -> dict[str, Any]:
    """A chat of one message."""
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 64, "temperature": 0}


def content(job: Mapping[str, Any]) -> str:
    """The text of a completed chat job."""
    assert job["status"] == "COMPLETED", job
    output = job["output"][0] if isinstance(job["output"], list) else job["output"]
    found: str = output["choices"][0]["message"]["content"]
    return found
