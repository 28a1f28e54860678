"""`worker-vllm gateway exec`: a command with a gateway, workers and an engine of its own, which end with it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from urllib.parse import urlsplit

from worker_vllm.local.fleet.worker_process import DIE_WITH_PARENT

NOT_STARTED = 125  # the gateway; as `timeout`, `env` and `docker run` end when they fail themselves
NOT_EXECUTABLE, NOT_FOUND = 126, 127
STOP_S = 30.0
READY = "Ready: "
LAST_LINE = "Ctrl-C stops everything."  # of what `local` prints for a reader when it is ready


def execute(command: Sequence[str], options: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the command while `worker-vllm local` with these options serves; returns the command's exit status.

    The command has this process's standard streams; what the gateway prints goes to standard error.
    """
    with _local(options, environ) as url:
        if url is None:
            return NOT_STARTED
        variables = client_variables(url, environ.get("GATEWAY_API_KEY", "").strip(), model_at(url, environ))
        try:
            return _run(command, {**environ, **variables})
        except OSError as error:
            _tell(f"{command[0]}: {error.strerror}")
            return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


def client_variables(url: str, key: str, model: str) -> dict[str, str]:
    """The variables that RunPod's, OpenAI's and Anthropic's clients read, for the endpoint at this address."""
    base, _, endpoint_id = url.rpartition("/")
    balanced = urlsplit(base).path == "/lb"
    openai, anthropic = (f"{url}/v1", url) if balanced else (f"{url}/openai/v1", f"{url}/openai")
    shown = key or "local"
    variables = {
        "RUNPOD_API_KEY": shown,
        "RUNPOD_ENDPOINT_ID": endpoint_id,
        "RUNPOD_ENDPOINT_BASE_URL": base,  # of RunPod's Python SDK
        "RUNPOD_ENDPOINT_URL": url,
        "OPENAI_BASE_URL": openai,
        "OPENAI_API_BASE": openai,  # its name in older clients
        "OPENAI_API_KEY": shown,
        "ANTHROPIC_BASE_URL": anthropic,
        "ANTHROPIC_API_KEY": shown,
        "WORKER_VLLM_MODEL": model,
    }
    return {**variables, "ANTHROPIC_AUTH_TOKEN": key} if key else variables


def model_at(url: str, environ: Mapping[str, str]) -> str:
    """The name of the model that the endpoint serves."""
    route = "/v1/models" if urlsplit(url).path.startswith("/lb/") else "/openai/v1/models"
    request = urllib.request.Request(url + route)
    if key := environ.get("GATEWAY_API_KEY", "").strip():
        request.add_header("Authorization", f"Bearer {key}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the address is of this machine
    with opener.open(request, timeout=60) as answer:
        return str(json.load(answer)["data"][0]["id"])


@contextlib.contextmanager
def _local(options: Sequence[str], environ: Mapping[str, str]) -> Iterator[str | None]:
    """`worker-vllm local` for the length of the block: its address, None when it ended instead of being ready."""
    arguments = ["-m", "worker_vllm", "local", "--port", "0", "--ephemeral", *options]
    guarded = [sys.executable, "-c", DIE_WITH_PARENT, str(os.getpid()), sys.executable, *arguments]
    process = subprocess.Popen(
        guarded,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,  # Ctrl-C is for the command first
    )
    assert process.stdout is not None
    lines = iter(process.stdout)
    reader = threading.Thread(target=_forward, args=(lines,), daemon=True)
    try:
        url = _url_in(lines)
        if url is not None:
            reader.start()
        yield url
    finally:
        _stop(process)
        if reader.is_alive():
            reader.join(1)


def _url_in(lines: Iterator[str]) -> str | None:
    for line in lines:
        if line.startswith(READY):
            return line.removeprefix(READY).strip()
        _tell(line.rstrip())
    return None


def _forward(lines: Iterator[str]) -> None:
    """Print what follows the text for a reader."""
    shown = False
    for line in lines:
        if shown:
            _tell(line.rstrip())
        shown = shown or line.startswith(LAST_LINE)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _run(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the command; SIGINT reaches it by the terminal, SIGTERM is passed on. Raises OSError."""
    process: list[subprocess.Popen[bytes]] = []

    def forward(number: int, frame: FrameType | None) -> None:
        for each in process:
            each.send_signal(number)

    previous = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda number, frame: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, forward),
    }
    try:
        process.append(subprocess.Popen(command, env=dict(environ)))
        status = process[0].wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 128 - status if status < 0 else status


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
