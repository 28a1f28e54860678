"""Where `worker-vllm local` keeps its jobs, and that they are there after a kill."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.support.http import Http
from tests.support.processes import running
from worker_vllm.commands.local import state_file

PLACES: list[tuple[int, dict[str, str], Path | None]] = [
    (8000, {"HOME": "/home/u"}, Path("/home/u/.local/state/worker-vllm/gateway-8000.db")),
    (8001, {"HOME": "/home/u", "XDG_STATE_HOME": "/s"}, Path("/s/worker-vllm/gateway-8001.db")),
    (0, {"HOME": "/home/u"}, None),
    (8000, {}, None),
]


@pytest.mark.parametrize(("port", "environ", "place"), PLACES)
def test_the_file_follows_from_the_port(port: int, environ: dict[str, str], place: Path | None) -> None:
    """One for each port; none for a free port, which the next run would not have again."""
    assert state_file(port, environ) == place


@pytest.mark.timeout(120)
async def test_a_result_outlives_a_killed_local(tmp_path: Path) -> None:
    """Without an option; `--ephemeral` starts empty."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "worker_vllm", "local", "--engine", "echo", "--port", str(port)]
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    status = ""
    for arguments, found in (([], 0), ([], 200), (["--ephemeral"], 404)):
        with running([*command, *arguments], environment) as process:
            process.line("Ready: ")
            async with Http(f"http://127.0.0.1:{port}") as http:
                if not found:
                    job = (await http.post("/v2/local/run", {"input": {"prompt": "kept"}})).json["id"]
                    status = f"/v2/local/status-sync/{job}"
                    assert (await http.get(status)).json["status"] == "COMPLETED"
                else:
                    assert (await http.get(status)).status == found
            process.signal(signal.SIGKILL)
