"""The two servers that are compared: `vllm serve` itself, and gateway and worker attached to it."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import running
from tests.support.stack import serve
from tests.upstream.modules import Engine
from tests.upstream.stand_ins import ADAPTER, MODEL
from worker_vllm.engine.process.command import KEEP_ALIVE_S

READY = "Application startup complete"
START_LIMIT_S = 300.0
# `vllm serve`; the module answers for vLLM's build for CPU, whose distribution has another name.
VLLM = (sys.executable, "-m", "worker_vllm.engine.child.launch", "serve", MODEL)


def free_port() -> int:
    """A port of the loopback interface that is free."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def bare(engine: Engine, folder: Path, hub: Path) -> Iterator[str]:
    """`vllm serve` with the stand-in; its address. `folder` holds the model under its name."""
    port = free_port()
    environment = {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(hub),
        "VLLM_CPU_KVCACHE_SPACE": os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_S),  # longer than our client's, as when we start it
        **engine.environment,
    }
    # Fixtures name adapters by their whole path, and a test compares it.
    arguments = [argument.replace(ADAPTER, str(folder / ADAPTER)) for argument in engine.arguments]
    command = [*VLLM, "--host", "127.0.0.1", "--port", str(port), *arguments]
    # env(1) changes the folder: a name of a model that is also a folder must be seen from there.
    with running(["env", "-C", str(folder), *command], environment, lifeline=True) as process:
        process.line(READY, START_LIMIT_S)
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def through(engine_url: str, engine: Engine) -> Iterator[str]:
    """Gateway and one worker in front of the engine; the address that stands for the engine's own."""
    with serve(engine_url, MODEL, environment=engine.worker) as up:
        yield f"{up.url}/openai"
