"""A gateway as a process, and what a worker process needs to attach to it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping

from tests.support.processes import Process, running

GATEWAY = (sys.executable, "-m", "worker_vllm", "gateway", "--port", "0")
START = (sys.executable, "-m", "worker_vllm", "start")


@contextlib.contextmanager
def gateway_process(*arguments: str) -> Iterator[str]:
    """A gateway with `arguments`; the address of its endpoint, http://host:port/v2/local."""
    with running([*GATEWAY, *arguments]) as process:
        yield process.line("gateway on ").split("gateway on ")[1].strip()


def worker_environment(endpoint_url: str, worker_id: str, ping_ms: int = 1000) -> Mapping[str, str]:
    """The variables that RunPod gives a worker, with its placeholders."""
    return {
        "RUNPOD_POD_ID": worker_id,
        "RUNPOD_AI_API_KEY": "key",
        "RUNPOD_PING_INTERVAL": str(ping_ms),
        "RUNPOD_WEBHOOK_GET_JOB": f"{endpoint_url}/job-take/$ID?gpu=none",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{endpoint_url}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{endpoint_url}/job-stream/$RUNPOD_POD_ID/$ID?gpu=none",
        "RUNPOD_WEBHOOK_PING": f"{endpoint_url}/ping/$RUNPOD_POD_ID?gpu=none",
    }


@contextlib.contextmanager
def worker_process(environment: Mapping[str, str]) -> Iterator[Process]:
    """`worker-vllm start` with these variables."""
    with running(START, environment) as process:
        yield process
