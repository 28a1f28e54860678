"""The real engine for tests: vLLM on CPU serving the embedded model, as the worker itself would start it."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from tests.support.paths import PARROT
from tests.support.processes import running
from worker_vllm.engine.process.child_process import GRACE_S, GUARD
from worker_vllm.engine.process.command import child_environment, engine_argv
from worker_vllm.settings.load import load

START_TIMEOUT_S = 300.0
SETTINGS = {
    "MODEL_NAME": str(PARROT),
    "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "parrot",
    "FAST_START": "1",
    "ENABLE_AUTO_TOOL_CHOICE": "1",
    "TOOL_CALL_PARSER": "hermes",
}
LISTEN_TIMEOUT_S = 10.0
READY = "Application startup complete"


@contextlib.contextmanager
def real_engine_process(more: Mapping[str, str] | None = None, *arguments: str) -> Iterator[str]:
    """Start vLLM on a fresh socket, with `more` settings, wait until it serves, stop it at the end; its address.

    `arguments` are those that the worker itself adds to the engine's command line.
    """
    engine = load({**SETTINGS, **(more or {})}).engine
    engine = replace(engine, arguments=(*engine.arguments, *arguments))
    with tempfile.TemporaryDirectory(prefix="engine-") as directory:
        path = str(Path(directory, "engine.sock"))
        inherited = {k: v for k, v in os.environ.items() if k.startswith(("HF_", "VLLM_CPU_", "WORKER_VLLM_"))}
        environment = child_environment(engine, {"HF_HUB_OFFLINE": "1", **inherited}, directory)
        guarded = [sys.executable, "-I", "-S", str(GUARD), directory, str(GRACE_S), *engine_argv(engine, path)]
        with running(guarded, environment, lifeline=True) as process:
            process.line(READY, START_TIMEOUT_S)
            _await_listening(path)
            yield f"unix:{path}"


def _await_listening(path: str) -> None:
    """The last line that the engine logs comes a moment before its socket listens; no line reports that."""
    deadline = time.monotonic() + LISTEN_TIMEOUT_S
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == 0 or time.monotonic() > deadline:
                return
        time.sleep(0.02)
