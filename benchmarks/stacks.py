"""What the suite measures, each as a context manager: an engine alone, this worker's modes, the original worker.

Every queue has a gateway of its own, and every worker an engine of its own. `benchmarks/original.sh` fetches the
original, whose sources are not part of this repository.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.attached import gateway_process, worker_environment, worker_process
from tests.support.http_mode import free_port, http_worker
from tests.support.paths import PARROT, ROOT
from tests.support.processes import Process, running
from worker_vllm.bench.targets import BenchTarget, TargetKind

ENGINE, PLAIN, QUEUE, HTTP, ORIGINAL = "engine", "vllm serve", "queue mode", "http mode", "original"
READY_TIMEOUT_S = 300.0
ROOM = {"MAX_CONCURRENCY": "1024"}  # for all streams, of this worker and of the original
VLLM = (sys.executable, str(ROOT / "benchmarks" / "plain_vllm.py"))
STAMPING = (sys.executable, "-m", "benchmarks.stamping_engine", "--max-num-seqs", "1024")
# Without a KV cache's size vLLM on CPU claims 92% of the machine's memory; usage statistics would ask the network.
REAL = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
# The SDK's checks of the machine at its start are no part of serving.
SDK = {"RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", "RUNPOD_SKIP_GPU_CHECK": "true", "RUNPOD_LOG_LEVEL": "INFO"}


@dataclass(frozen=True, slots=True)
class Running:
    """A target that runs: where it is asked, its processes, and the name under which the worker's CPU is listed."""

    target: BenchTarget
    processes: tuple[Process, ...]
    worker: str = ""

    def output(self) -> str:
        """What all its processes printed."""
        return "\n".join(process.output() for process in self.processes)


@contextlib.contextmanager
def stamping_engine(step_ms: float) -> Iterator[tuple[str, Process]]:
    """An echo engine whose tokens are times; its socket."""
    with tempfile.TemporaryDirectory(prefix="engine-") as directory:
        socket = str(Path(directory, "engine.sock"))
        with running([*STAMPING, "--uds", socket, "--step-ms", str(step_ms)]) as process:
            process.line("serving")
            yield socket, process


@contextlib.contextmanager
def engine_alone(step_ms: float) -> Iterator[Running]:
    """The engine read directly."""
    with stamping_engine(step_ms) as (socket, process):
        yield Running(BenchTarget(ENGINE, TargetKind.OPENAI, "http://engine/v1", "echo", socket=socket), (process,))


@contextlib.contextmanager
def queue_over_echo(step_ms: float, name: str = QUEUE, more: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Gateway and worker over a stamping engine."""
    with stamping_engine(step_ms) as (socket, engine), gateway_process() as url:
        environment = {**worker_environment(url, "worker"), **ROOM, "ENGINE_URL": f"unix:{socket}", **(more or {})}
        with worker_process(environment) as worker:
            yield Running(_routes(name, url, "echo"), (worker, engine), "worker-vllm start")


@contextlib.contextmanager
def original_over_echo(directory: Path, step_ms: float) -> Iterator[Running]:
    """The original worker with its own gateway; what it starts as `vllm serve` is a stamping engine."""
    with (
        gateway_process() as url,
        _original(directory, url, "echo", (*STAMPING, "--step-ms", str(step_ms))) as worker,
    ):
        yield Running(_routes(ORIGINAL, url, "echo"), (worker,), "main.py")


@contextlib.contextmanager
def plain_vllm(port: int, more: Mapping[str, str] | None = None) -> Iterator[Running]:
    """`vllm serve` with what the worker is given too."""
    command = [*VLLM, "serve", str(PARROT), "--served-model-name", "parrot", "--enforce-eager"]
    command += ["--disable-uvicorn-access-log", "--host", "127.0.0.1", "--port", str(port)]
    with running(command, {**REAL, **(more or {})}) as process:
        process.line("Application startup complete", READY_TIMEOUT_S)
        yield Running(_plain(PLAIN, port), (process,))


@contextlib.contextmanager
def queue_over_vllm(port: int) -> Iterator[Running]:
    """Gateway and worker, which starts vLLM."""
    with gateway_process("--port", str(port)) as url:
        environment = {**worker_environment(url, "worker"), **ROOM, **REAL, **_worker_settings()}
        with worker_process(environment) as worker:
            worker.line("the engine is ready after", READY_TIMEOUT_S)
            yield Running(_routes(QUEUE, url, "parrot"), (worker,), "worker-vllm start")


@contextlib.contextmanager
def http_over_vllm(port: int) -> Iterator[Running]:
    """The worker in http mode, which starts vLLM."""
    environment = {**ROOM, **REAL, **_worker_settings(), "ENGINE": "vllm"}
    with http_worker(environment, ports=(port, port)) as worker:
        worker.process.line("accepts requests on port", READY_TIMEOUT_S)
        yield Running(_plain(HTTP, port), (worker.process,), "worker-vllm start")


@contextlib.contextmanager
def original_over_vllm(directory: Path, port: int, more: Mapping[str, str] | None = None) -> Iterator[Running]:
    """The original worker with its own gateway, over the same vLLM."""
    settings = {"MODEL_NAME": str(PARROT), "ENFORCE_EAGER": "true", "DISABLE_UVICORN_ACCESS_LOG": "true"}
    with (
        gateway_process("--port", str(port)) as url,
        _original(directory, url, "parrot", VLLM, {**REAL, **settings, **(more or {})}) as worker,
    ):
        worker.line("vLLM is healthy", READY_TIMEOUT_S)
        yield Running(_routes(ORIGINAL, url, "parrot"), (worker,), "main.py")


@contextlib.contextmanager
def _original(
    directory: Path, endpoint: str, model: str, engine: Sequence[str], more: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """Its own `main.py` in its own environment; `engine` answers to the name `vllm` that it starts."""
    python = directory / ".venv" / "bin" / "python"
    if not python.is_file():
        raise SystemExit(f"--original {directory}: no {python}; fetch it with benchmarks/original.sh {directory}")
    with tempfile.TemporaryDirectory(prefix="original-") as place:
        command = Path(place, "vllm")
        # The echo engine ignores what it does not know, the verb `serve` too.
        command.write_text(f'#!/bin/bash\ncd {shlex.quote(str(ROOT))}\nexec {shlex.join(engine)} "$@"\n')
        command.chmod(0o755)
        environment = {
            **worker_environment(endpoint, "original"),
            **ROOM,
            **SDK,
            "MODEL_NAME": model,
            "SERVED_MODEL_NAME": model,
            "VLLM_PORT": str(free_port()),
            **(more or {}),
            "PATH": f"{place}:{os.environ['PATH']}",
            "HOME": place,
        }
        with running([str(python), str(directory / "src" / "main.py")], environment) as worker:
            yield worker


def _worker_settings() -> dict[str, str]:
    return {"MODEL_NAME": str(PARROT), "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "parrot", "FAST_START": "1"}


def _routes(name: str, endpoint: str, model: str) -> BenchTarget:
    """The OpenAI routes of a RunPod endpoint."""
    return BenchTarget(name, TargetKind.OPENAI, f"{endpoint}/openai/v1", model)


def _plain(name: str, port: int) -> BenchTarget:
    return BenchTarget(name, TargetKind.OPENAI, f"http://127.0.0.1:{port}/v1", "parrot")
