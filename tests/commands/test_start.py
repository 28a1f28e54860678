"""`worker-vllm start` against the gateway: how a start that cannot succeed ends, by the class of its cause."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from tests.support.attached import gateway_process
from tests.support.http import Http
from tests.support.processes import Process, running
from worker_vllm import __version__
from worker_vllm.engine.process.guard import descendants, read_stat
from worker_vllm.local.launch_config import LocalConfig, worker_environment

PROGRAM = (sys.executable, "-m", "worker_vllm")
DISK_FULL = "OSError: [Errno 28] No space left on device"
BAD_FLAG = "vllm: error: unrecognized arguments: --zip"

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def gateway() -> Iterator[str]:
    """A gateway alone; its address."""
    with gateway_process() as url:
        yield url.removesuffix("/v2/local")


def worker(gateway: str, **environment: str) -> AbstractContextManager[Process]:
    """A worker process attached to it."""
    plan = LocalConfig("echo", None, (1, 1))
    return running([*PROGRAM, "start"], {**worker_environment(plan, environment, gateway, "w1"), **environment})


async def ask(gateway: str) -> dict[str, object]:
    """One job to its end: its status object."""
    async with Http(gateway) as http:
        answer = await http.post("/v2/local/runsync", {"input": {"prompt": "hello"}})
        found: dict[str, object] = answer.json
        return found


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"MAX_MODEL_LEN": "8k tokens"}, 'MAX_MODEL_LEN="8k tokens": expected'),
        ({"ECHO_START_LOG": BAD_FLAG, "ECHO_START_EXIT": "2"}, "this engine has no option --zip"),
        ({"ENGINE": "vllm", "MODEL_NAME": "/no/such/model"}, 'MODEL_NAME="/no/such/model": expected a path'),
    ],
    ids=["settings", "engine", "preflight"],
)
async def test_a_fault_of_the_settings_fails_every_job_with_the_reason(
    gateway: str, environment: dict[str, str], message: str
) -> None:
    """The worker stays up, and each job fails with the message; the engine is not started again."""
    with worker(gateway, **environment) as process:
        for _ in range(2):
            job = await ask(gateway)
            assert job["status"] == "FAILED"
            error = json.loads(str(job["error"]))
            assert message in error["message"]
            assert error["code"] == 503
        assert "engine is ready" not in process.output()


def test_a_fault_of_the_machine_takes_no_job_and_leaves(gateway: str) -> None:
    """Status 1, so that another machine serves."""
    with worker(gateway, ECHO_START_LOG=DISK_FULL, ECHO_START_EXIT="1") as process:
        assert process.exit_code() == 1
        assert "the disk is full" in process.output()
        assert "job-take" not in process.output()


def test_a_killed_worker_leaves_no_engine(gateway: str) -> None:
    """kill -9: its engine, guard, socket and directory are gone within five seconds."""
    # Short, as a socket's path must be.
    with tempfile.TemporaryDirectory(prefix="w") as temporary, worker(gateway, TMPDIR=temporary) as process:
        process.line("the engine is ready")
        engine = descendants(process.pid)
        assert len(engine) >= 2
        assert len(os.listdir(temporary)) == 1
        process.signal(signal.SIGKILL)
        process.exit_code()
        deadline = time.monotonic() + 5
        while any(read_stat(pid) for pid in engine) or os.listdir(temporary):
            assert time.monotonic() < deadline, (engine, os.listdir(temporary))
            time.sleep(0.02)  # the end of a stranger's process has no event here


def test_a_mode_that_start_does_not_serve_is_refused_before_any_engine() -> None:
    """Status 78 and one message with the alternative."""
    done = subprocess.run(
        [*PROGRAM, "start"],
        env={"PATH": os.environ["PATH"], "MODEL_NAME": "/no/such/model"},
        check=False,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 78
    assert "asks for mode local: run `worker-vllm local`" in done.stderr
    assert "/no/such/model" not in done.stderr


def test_the_first_line_says_what_starts(gateway: str) -> None:
    """Version, mode, model, engine."""
    with worker(gateway, LOG_FORMAT="json") as process:
        first = json.loads(process.line("{").strip())
    assert first["message"] == f"worker-vllm {__version__}, queue mode, model echo, echo engine"
