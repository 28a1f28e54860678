"""The echo engine as a process: what it prints, how it exits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.support.http import Http
from tests.support.processes import running

pytestmark = pytest.mark.timeout(30)  # each starts a process

COMMAND = [sys.executable, "-m", "worker_vllm.echo"]


async def test_it_serves_on_a_socket_and_logs_what_it_ignores(tmp_path: Path) -> None:
    """vLLM's own flags are accepted and logged; those for names and limits are applied."""
    socket = tmp_path / "e.sock"
    flags = ["--served-model-name", "a", "b", "--max-model-len", "99", "--block-size", "16"]
    with running([*COMMAND, "--uds", str(socket), *flags]) as process:
        line = process.line("echo engine: serving")
        assert "ignored, vLLM only: --block-size 16" in process.output()
        assert line.endswith(f"serving a, b at unix:{socket}")
        async with Http(f"unix:{socket}") as http:
            cards = (await http.get("/v1/models")).json["data"]
    assert [(card["id"], card["max_model_len"]) for card in cards] == [("a", 99), ("b", 99)]


async def test_an_exit_is_immediate(tmp_path: Path) -> None:
    """The control channel's exit is a crash: no response, the requested exit code."""
    socket = tmp_path / "e.sock"
    with running([*COMMAND, "--uds", str(socket)]) as process:
        process.line("echo engine: serving")
        async with Http(f"unix:{socket}") as http:
            with pytest.raises(aiohttp.ClientError):
                await http.post("/echo/exit", {"code": 7})
        assert process.exit_code() == 7


def test_a_start_can_fail_as_scripted() -> None:
    """It prints the log of a real failure, then exits with its code; tests of the diagnosis use it."""
    environment = {"ECHO_START_LOG": "torch.OutOfMemoryError: CUDA out of memory.", "ECHO_START_EXIT": "1"}
    done = subprocess.run(COMMAND, check=False, env=environment, capture_output=True, text=True, timeout=9)
    assert (done.returncode, done.stderr) == (1, "torch.OutOfMemoryError: CUDA out of memory.\n")
