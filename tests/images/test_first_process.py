"""The worker as a container's first process: it gets the platform's signals, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.images.container import CONTAINER, WORKER, ask
from tests.support.processes import Process
from worker_vllm.local.launch_config import LocalConfig, worker_environment

RUN = Path("/proc")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a process namespace stands in for a container"),
    pytest.mark.timeout(60),
]


def first_process(gateway: str, **more: str) -> Process:
    """The image's entry point in a namespace of its own, with the echo engine, attached to the gateway."""
    environment = worker_environment(LocalConfig(engine="echo"), {}, gateway, "worker-1")
    return Process([*CONTAINER, WORKER, "start"], {**environment, "MODEL_NAME": "echo", **more})


def inside(process: Process) -> int:
    """The worker's process id on this machine: the namespace's first process."""
    return int((RUN / str(process.pid) / "task" / str(process.pid) / "children").read_text().split()[0])


def members(first: int) -> list[str]:
    """The command lines of every process in the namespace of `first`."""
    namespace = os.readlink(RUN / str(first) / "ns" / "pid")
    found = []
    for entry in RUN.iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "ns" / "pid") == namespace:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_the_platform_s_sigterm_ends_the_worker_in_order(gateway: str) -> None:
    """Process 1 gets no default action for a signal: the worker handles it, stops its engine and exits with 0."""
    process = first_process(gateway)
    try:
        assert ask(gateway)["status"] == "COMPLETED"
        worker = inside(process)
        assert any("engine" in line for line in members(worker))
        os.kill(worker, signal.SIGTERM)
        assert process.exit_code(15) == 0, process.output()
    finally:
        process.stop()


def test_no_zombie_gathers_under_the_first_process(gateway: str) -> None:
    """Orphans of the engine are reaped: after a job no process in the namespace is a zombie."""
    process = first_process(gateway)
    try:
        assert ask(gateway)["status"] == "COMPLETED"
        states = [_state(int(entry.name)) for entry in RUN.iterdir() if _is_member(entry, inside(process))]
        assert states
        assert "Z" not in states
    finally:
        process.stop()


def test_a_restarted_container_sweeps_up_what_its_end_left(gateway: str) -> None:
    """The end of a container kills the guard too; the next worker on its disk keeps only its own directory."""
    with tempfile.TemporaryDirectory(prefix="w", dir="/tmp") as disk:  # short enough for a socket's path
        left = [served_in(gateway, disk) for _ in range(2)]
    assert [len(places) for places in left] == [1, 1]
    assert left[0] != left[1]


def served_in(gateway: str, disk: str) -> list[str]:
    """Start a container over this disk, run one job, kill it; returns the files that remain on the disk."""
    process = first_process(gateway, TMPDIR=disk)
    try:
        assert ask(gateway)["status"] == "COMPLETED"
    finally:
        process.signal(signal.SIGKILL)
        process.stop()
    return os.listdir(disk)


def _is_member(entry: Path, first: int) -> bool:
    try:
        return entry.name.isdigit() and os.readlink(entry / "ns" / "pid") == os.readlink(
            RUN / str(first) / "ns" / "pid"
        )
    except OSError:
        return False


def _state(pid: int) -> str:
    return (RUN / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.mark.parametrize(("name", "status"), [("worker-vllm", 0), ("something-else", 1)])
def test_the_health_check_knows_a_queue_worker_from_anything_else(name: str, status: int) -> None:
    """A queue worker listens on no port: only the first process can be checked."""
    with subprocess.Popen(["sh", "-c", "read line", name], stdin=subprocess.PIPE) as process:
        done = health("--pid", str(process.pid), WORKER_MODE="local")
        process.communicate()
    assert (done.returncode, done.stderr) == (status, "" if status == 0 else f"process {process.pid} is sh\n")


def test_a_worker_that_stays_up_to_report_an_error_is_healthy(gateway: str) -> None:
    """A restart of its container would change nothing: the settings must change."""
    process = first_process(gateway, MAX_MODEL_LEN="8k tokens")
    try:
        process.line("8k tokens")
        first = inside(process)
        hook = {"RUNPOD_WEBHOOK_GET_JOB": f"{gateway}/take/$ID", "MAX_MODEL_LEN": "8k tokens"}
        done = health("--pid", str(first), **hook)
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        process.stop()


def test_the_health_check_fails_without_a_process_or_a_port() -> None:
    """With the reason, for `docker inspect`."""
    absent = health("--pid", "999999999", WORKER_MODE="local")
    assert (absent.returncode, absent.stderr) == (1, "there is no process 999999999\n")
    closed = health(WORKER_MODE="http", PORT="9")
    assert closed.returncode == 1
    assert closed.stderr.startswith("no answer on port 9: ")


def health(*options: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **env}
    return subprocess.run([WORKER, "health", *options], check=False, env=environment, capture_output=True, text=True)
