"""The real engine for tests: vLLM on CPU serving the embedded model, as the worker itself would start it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.processes import running
from worker_vllm.engine.command import child_environment, engine_argv
from worker_vllm.settings.load import load

PARROT = Path(__file__).resolve().parents[2] / "models" / "parrot"
START_TIMEOUT_S = 300.0
SETTINGS = {
    "MODEL_NAME": str(PARROT),
    "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "parrot",
    "FAST_START": "1",
    "ENABLE_AUTO_TOOL_CHOICE": "1",
    "TOOL_CALL_PARSER": "hermes",
}
READY = "Application startup complete"


@contextlib.contextmanager
def real_engine_process(more: Mapping[str, str] | None = None) -> Iterator[str]:
    """Start vLLM on a fresh socket, with `more` settings, wait until it serves, stop it at the end; its address."""
    engine = load({**SETTINGS, **(more or {})}).engine
    with tempfile.TemporaryDirectory(prefix="engine-") as directory:
        socket = str(Path(directory, "engine.sock"))
        inherited = {k: v for k, v in os.environ.items() if k.startswith(("HF_", "VLLM_CPU_"))}
        environment = child_environment(engine, {"HF_HUB_OFFLINE": "1", **inherited}, directory)
        with running(engine_argv(engine, socket), environment) as process:
            process.line(READY, START_TIMEOUT_S)
            yield f"unix:{socket}"
