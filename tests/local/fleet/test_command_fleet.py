"""`worker-vllm gateway --worker-command`: workers of any command, for both kinds of endpoint."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.local.fleet.stack import FleetStack
from tests.support.http import Http
from tests.support.processes import running

GATEWAY = (sys.executable, "-m", "worker_vllm", "gateway", "--port", "0")
OURS = f"{shlex.quote(sys.executable)} -m worker_vllm start"
PLAIN = f"{shlex.quote(sys.executable)} {shlex.quote(str(Path(__file__).with_name('plain_worker.py')))}"

pytestmark = pytest.mark.timeout(90)


async def test_workers_of_a_queue() -> None:
    """From zero with the first job; Ctrl-C ends them."""
    arguments = [*GATEWAY, "--workers", "0:2", "--worker-command", OURS]
    with running(arguments, {"ENGINE": "echo", "MODEL_NAME": "echo"}) as process:
        url = (await asyncio.to_thread(process.line, "gateway on ")).split()[-1]
        async with Http(url.rsplit("/", 2)[0]) as http:
            stack = FleetStack(process, http)
            assert await stack.answer(await stack.run("one two")) == ("COMPLETED", "one two")
            assert list(await stack.workers()) == ["worker-1"]
        process.signal(signal.SIGINT)
        assert await asyncio.to_thread(process.exit_code) == 0


async def test_workers_behind_the_load_balancer() -> None:
    """A server that knows nothing of ours but PORT, PORT_HEALTH and /ping."""
    with running([*GATEWAY, "--mode", "http", "--workers", "2", "--worker-command", PLAIN]) as process:
        url = (await asyncio.to_thread(process.line, "gateway on ")).split()[-1]
        async with Http(url.rsplit("/", 2)[0]) as http:
            stack = FleetStack(process, http)
            assert (await http.get("/lb/local/any")).status == 200
            await stack.until(idle=2)
            served = [(await http.get("/lb/local/any")).body for _ in range(4)]
            assert sorted(served) == [b"worker-1", b"worker-1", b"worker-2", b"worker-2"]
            assert "worker-1: plain worker: up" in process.output()


async def test_a_command_that_ends_again_and_again_ends_the_gateway() -> None:
    """Three restarts within ten minutes, then the status that it ended with."""
    with running([*GATEWAY, "--worker-command", "sh -c 'exit 3'"]) as process:
        assert await asyncio.to_thread(process.exit_code, 60) == 1
    last = process.output().splitlines()[-1]
    assert last == "worker-vllm gateway: worker-1-4 ended with status 3, after 3 restarts within ten minutes"


REFUSED = [
    (["--workers", "2"], "--workers and --mode say how workers are started: expected them after exec, or with "),
    (["--mode", "http"], "--workers and --mode say how workers are started: expected them after exec, or with "),
    (["--worker-command", "x 'y"], "--worker-command x 'y: No closing quotation, expected a command as in a shell"),
    (["--worker-command", ""], '--worker-command "": expected a command, such as "python worker.py"'),
    (["--worker-command", "x", "exec", "--", "y"], "got --worker-command with exec, which starts this package's "),
    (["--worker-command", "x", "--set", "scaling.value=0"], "--set scaling.value=0: expected a number above 0"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_obeyed_is_refused(arguments: list[str], message: str) -> None:
    """Nothing is silently ignored."""
    with running([*GATEWAY, *arguments]) as process:
        assert process.exit_code(60) == 1
    assert process.output().splitlines()[-1].startswith(f"worker-vllm gateway: {message}")
