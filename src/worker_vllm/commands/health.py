"""`worker-vllm health`: the container's health check. Exit status 0 means healthy.

In http mode it requests /ping, which answers 200 when ready and 204 while starting. A queue worker listens on no
port (the platform judges it by its pings), so the check is that process 1 is a worker. A worker that cannot serve,
and stays up to fail every job with the reason, counts as healthy: a restart of the container would change nothing.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
from pathlib import Path

from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import load_despite_problems
from worker_vllm.settings.types import Mode

HEALTHY = (200, 204)
TIMEOUT_S = 4.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the worker's process id."""
    parser.add_argument("--pid", type=int, default=1, help="the worker's process id (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Exit status 0 when the worker is healthy, else 1 with the reason on stderr."""
    settings = load_despite_problems(os.environ, HostFacts())
    http = settings.http
    in_http_mode = settings.mode is Mode.HTTP
    reason = _ping(http.health_port or http.port, http.health_path) if in_http_mode else _process(args.pid)
    if reason:
        print(reason, file=sys.stderr)
    return 1 if reason else 0


def _ping(port: int, path: str) -> str | None:
    """Why the health path does not report a live worker; None when it does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"no answer on port {port}: {error}"
    finally:
        connection.close()
    return None if status in HEALTHY else f"{path} on port {port} answers {status}"


def _process(pid: int) -> str | None:
    """Why the process is not a running worker; None when it is one."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return f"there is no process {pid}"
    return (
        None
        if any("worker-vllm" in word or "worker_vllm" in word for word in words)
        else f"process {pid} is {words[0]}"
    )
