"""Containers that no engine can start in: every job fails with the option to change, and nothing is restarted."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.images.container import CONTAINER, WORKER, ask
from tests.support.engines.model_process import MODEL_PROCESS
from tests.support.paths import PARROT
from tests.support.processes import running
from worker_vllm.local.launch_config import LocalConfig, worker_environment

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces stand in for a container"),
    pytest.mark.timeout(60),
]


@pytest.mark.parametrize(
    ("limit", "remedy"),
    [
        ("mount -t tmpfs -o size=64m tmpfs /dev/shm", "--shm-size 1g"),
        ("ulimit -n 64", "--ulimit nofile=65535:65535"),
        ("ulimit -v 2000000", "ulimit -v"),
        ("mount -t tmpfs -o size=16m tmpfs /tmp", "TMPDIR"),
        ("mount -o remount,bind,ro /", "--tmpfs /tmp"),
    ],
    ids=["shared memory", "open files", "address space", "small place", "read-only root"],
)
def test_every_job_fails_with_the_container_option_to_change(gateway: str, limit: str, remedy: str) -> None:
    """In one sentence, without a traceback; the worker stays up, and the health check leaves it there."""
    config = LocalConfig(engine="vllm", model=str(PARROT))
    environment = {**worker_environment(config, {}, gateway, "worker-1"), **MODEL_PROCESS}
    with running(
        [*CONTAINER, "bash", "-c", f'{limit} && exec "$@"', "bash", WORKER, "start"], environment
    ) as process:
        job = ask(gateway)
        assert job["status"] == "FAILED"
        assert remedy in job["error"]
        assert "Traceback" not in process.output()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        enter = ["nsenter", "--target", children[0], "--mount", "--pid", WORKER, "health"]
        done = subprocess.run(enter, check=False, env={**os.environ, **environment}, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        process.signal(signal.SIGKILL)


@pytest.mark.vllm
def test_docker_s_default_of_shared_memory_is_enough_for_one_process(gateway: str) -> None:
    """64 MB: on CPU the engine's core runs the model itself, by default, and jobs are answered."""
    environment = worker_environment(LocalConfig(engine="vllm", model=str(PARROT)), {}, gateway, "worker-1")
    limit = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'
    with running([*CONTAINER, "bash", "-c", limit, "bash", WORKER, "start"], environment) as process:
        job = ask(gateway)
        assert job["status"] == "COMPLETED", process.output()
        process.signal(signal.SIGKILL)
