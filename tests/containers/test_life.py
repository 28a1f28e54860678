"""The first process of a container, its end, and its health check; with the echo engine, attached to a gateway."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.containers.container import Container, ask, chat, container, content, send, until
from tests.containers.images import Image
from tests.support.attached import worker_environment

pytestmark = [pytest.mark.containers, pytest.mark.timeout(2400)]

HOST = ["--network=host"]
SLOW = '[[echo {"tpot_ms": 100}]]'  # each character of the answer takes that long


def variables(gateway: str, **more: str) -> dict[str, str]:
    """What the platform and the operator set: nothing but the environment configures the container."""
    return {**worker_environment(gateway, "worker-1"), "ENGINE": "echo", **more}


def processes(up: Container) -> list[tuple[int, int, str, str]]:
    """Process, parent, state and command line of every process in the container but `ps` itself."""
    lines = up.execute("ps", "-eo", "pid=,ppid=,stat=,args=").splitlines()
    found = [line.split(None, 3) for line in lines]
    return [(int(pid), int(parent), state, line) for pid, parent, state, line in found if not line.startswith("ps ")]


def test_the_worker_is_the_first_process(gpu: Image, gateway: str) -> None:
    """Process 1 is the worker's init; the worker is its child and the engine below it."""
    with container(gpu.name, variables(gateway), HOST) as up:
        assert content(ask(gateway, "Hello")) == "Hello"
        found = {pid: (parent, line) for pid, parent, _, line in processes(up)}
    assert "worker-vllm start" in found[1][1]
    assert [parent for pid, (parent, line) in found.items() if "worker-vllm start" in line and pid != 1] == [1]
    assert any("worker_vllm.echo" in line or "engine" in line for _, line in found.values())


def test_orphans_are_reaped(gpu: Image, gateway: str) -> None:
    """Processes whose parent has ended become children of process 1, and none stays a zombie."""
    with container(gpu.name, variables(gateway), HOST) as up:
        assert content(ask(gateway, "Hello")) == "Hello"
        up.execute("sh", "-c", "for n in 1 2 3 4 5; do (sleep 0.3 &) ; done")
        until(lambda: not [line for *_, line in processes(up) if "sleep 0.3" in line], 10)
        assert [row for row in processes(up) if "Z" in row[2]] == []


def slow_job(gateway: str, seconds: int) -> tuple[threading.Thread, list[dict[str, Any]]]:
    """A job that takes so long, sent by another thread; the list receives its final status."""
    answers: list[dict[str, Any]] = []
    text = SLOW + "x" * (seconds * 10)
    thread = threading.Thread(target=lambda: answers.append(ask(gateway, text, max_tokens=1000)))
    thread.start()
    return thread, answers


def running(gateway: str) -> bool:
    """Whether a job is running on a worker."""
    health = send(f"{gateway}/health")[1]
    return bool(health["jobs"]["inProgress"])


@pytest.mark.parametrize("how", ["podman stop", "SIGTERM", "SIGINT"])
def test_a_stop_lets_running_jobs_finish(gpu: Image, gateway: str, how: str, figure: Callable[[str], None]) -> None:
    """`podman stop`, SIGTERM and SIGINT: the running job completes, and the container ends with status 0."""
    with container(gpu.name, variables(gateway), HOST) as up:
        assert content(ask(gateway, "Hello")) == "Hello"
        thread, answers = slow_job(gateway, 5)
        until(lambda: running(gateway), 20)
        started = time.monotonic()
        if how == "podman stop":
            status = up.stop()
        else:
            up.kill(how)
            status = up.process.exit_code(60)
        seconds = time.monotonic() - started
        thread.join(30)
        assert (status, content(answers[0])) == (0, "x" * 50), up.process.output()
        figure(f"{seconds:.1f} s with a job of 5 s running")


def test_a_job_beyond_the_drain_time_is_reported(gpu: Image, gateway: str, figure: Callable[[str], None]) -> None:
    """A job that outlasts DRAIN_TIMEOUT fails with the reason, and `podman stop` needs no SIGKILL."""
    with container(gpu.name, variables(gateway, DRAIN_TIMEOUT="2"), HOST) as up:
        assert content(ask(gateway, "Hello")) == "Hello"
        thread, answers = slow_job(gateway, 60)
        until(lambda: running(gateway), 20)
        started = time.monotonic()
        status = up.stop(30)
        figure(f"stopped after {time.monotonic() - started:.1f} s with DRAIN_TIMEOUT=2")
        thread.join(30)
    assert status == 0
    assert answers[0]["status"] == "FAILED"
    assert "DRAIN_TIMEOUT" in answers[0]["error"] or "stopp" in answers[0]["error"], answers


def test_a_stop_during_the_start_ends_it_at_once(gpu: Image, gateway: str, figure: Callable[[str], None]) -> None:
    """A stop signal that arrives as the container starts is not lost: status 0, long before a SIGKILL."""
    with container(gpu.name, variables(gateway, ECHO_START_DELAY_S="60"), HOST) as up:
        until(up.runs, 30)
        started = time.monotonic()
        assert up.stop(30) == 0, up.process.output()
        figure(f"ended after {time.monotonic() - started:.1f} s")


def test_the_health_check_is_the_image_s_own(gpu: Image, gateway: str) -> None:
    """`podman healthcheck run` succeeds while the worker serves."""
    with container(gpu.name, variables(gateway), HOST) as up:
        assert content(ask(gateway, "Hello")) == "Hello"
        assert up.healthy() == 0


def test_settings_mistakes_are_answered(gpu: Image, gateway: str) -> None:
    """A mistake in a setting does not restart the container: each job fails with what to change; it is healthy."""
    with container(gpu.name, variables(gateway, MAX_MODEL_LEN="8k tokens"), HOST) as up:
        job = ask(gateway, "Hello")
        assert job["status"] == "FAILED"
        assert 'MAX_MODEL_LEN="8k tokens": expected a whole number' in json.loads(job["error"])["message"]
        assert up.healthy() == 0


def test_settings_mistakes_are_an_exit_status(gpu: Image) -> None:
    """`config check` in the image ends with status 78 and the same sentence."""
    mistake = {"MAX_MODEL_LEN": "8k tokens"}
    command = ["--entrypoint=worker-vllm", "--network=none"]
    with container(gpu.name, mistake, command, ["config", "check"]) as up:
        assert up.process.exit_code(60) == 78, up.process.output()
        assert 'MAX_MODEL_LEN="8k tokens": expected a whole number' in up.process.output()


@pytest.mark.parametrize("kind", ["echo", "vllm"])
def test_http_mode_serves_the_exposed_port(gpu: Image, kind: str) -> None:
    """WORKER_MODE=http on a published port: first not ready, then the engine's answers, health check, stop with 0."""
    given = {"WORKER_MODE": "http", "PORT": "8000", "ENGINE": kind, "VLLM_CPU_KVCACHE_SPACE": "1"}
    with container(gpu.name, given, ["--publish=127.0.0.1::8000", "--shm-size=1g"]) as up:
        url = up.published(8000)
        until(lambda: send(f"{url}/health/live")[0] == 200, 60)
        until(lambda: send(f"{url}/health/ready")[0] == 200)
        status, answer = send(f"{url}/v1/chat/completions", {**chat("Hello"), "model": _model(url)})
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "Hello")
        assert up.healthy() == 0
        assert up.stop() == 0, up.process.output()


def _model(url: str) -> str:
    found: str = send(f"{url}/v1/models")[1]["data"][0]["id"]
    return found


def test_http_mode_answers_settings_mistakes(gpu: Image) -> None:
    """In http mode the health path answers 503 and every request the sentence."""
    given = {"WORKER_MODE": "http", "PORT": "8000", "ENGINE": "echo", "MAX_MODEL_LEN": "8k tokens"}
    with container(gpu.name, given, ["--publish=127.0.0.1::8000"]) as up:
        url = up.published(8000)
        until(lambda: send(f"{url}/health/live")[0], 60)
        status, answer = send(f"{url}/v1/models")
        assert (status, "8k tokens" in json.dumps(answer)) == (503, True), answer
        assert send(f"{url}/ping")[0] == 503
