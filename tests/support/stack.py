"""The whole path as a user runs it: `worker-vllm local`, that is gateway and workers, attached to an engine."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import Process, running
from worker_vllm.engine.process.command import MAX_STOP_STRINGS

LOCAL = (sys.executable, "-m", "worker_vllm", "local", "--port", "0")
ECHO = (sys.executable, "-m", "worker_vllm.echo")


@dataclass(frozen=True, slots=True)
class Stack:
    """A running gateway with its workers, and the engine behind them."""

    url: str  # the endpoint: http://host:port/v2/local
    engine_url: str  # unix:/path, for looking behind the scenes
    process: Process
    model: str
    prefix: str = "/openai"  # of the engine's routes below the url; http mode has none

    @property
    def root(self) -> str:
        """http://host:port."""
        return self.url.split("/v2/")[0]

    @property
    def routes_url(self) -> str:
        """What stands before the engine's own paths."""
        return f"{self.url}{self.prefix}"

    @property
    def openai_url(self) -> str:
        """What an OpenAI client takes as its base_url."""
        return f"{self.routes_url}/v1"


@contextlib.contextmanager
def serve(
    engine_url: str, model: str, *, workers: int = 1, environment: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """Gateway and workers attached to an engine that is already running."""
    variables = {"ENGINE_URL": engine_url, "DRAIN_TIMEOUT": "2", **(environment or {})}
    with running([*LOCAL, "--workers", str(workers)], variables) as process:
        url = process.line("Ready: ").split("Ready: ")[1].strip()
        yield Stack(url, engine_url, process, model)


@contextlib.contextmanager
def echo_process(*arguments: str, model: str = "echo") -> Iterator[str]:
    """An echo engine as a process of its own; its address."""
    with tempfile.TemporaryDirectory(prefix="echo-") as directory:
        socket = str(Path(directory, "engine.sock"))
        # The variable is what the worker gives an engine that it starts itself.
        environment = {"VLLM_MAX_STOP_STRINGS": str(MAX_STOP_STRINGS)}
        with running([*ECHO, "--uds", socket, "--model", model, *arguments], environment) as process:
            process.line("echo engine: serving")
            yield f"unix:{socket}"


@contextlib.contextmanager
def serve_echo(arguments: Sequence[str] = (), **options: Any) -> Iterator[Stack]:
    """Gateway and workers over an echo engine."""
    with echo_process(*arguments) as engine_url, serve(engine_url, "echo", **options) as up:
        yield up
