"""Queue mode and http mode beside plain `vllm serve`: the same 8B model with dummy weights, 1 to 256 streams."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.gpu.load import Load, measure
from tests.gpu.models import llama
from tests.support.attached import START
from tests.support.http_mode import free_port
from tests.support.processes import running
from tests.support.stack import LOCAL

STREAMS = (1, 32, 128, 256)
ARGUMENTS = ("--load-format", "dummy", "--max-model-len", "4096", "--max-num-seqs", "256")
START_S = 800.0
# What the engine may need of this machine's environment.
MACHINE = {
    name: text for name, text in os.environ.items() if name.startswith(("CUDA_", "LD_LIBRARY_PATH", "VLLM_CPU_"))
}


def settings(model: Path) -> Mapping[str, str]:
    """The same settings as ARGUMENTS, as a user of the worker sets them."""
    return {
        "MODEL_NAME": str(model),
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "m",
        "LOAD_FORMAT": "dummy",
        "MAX_MODEL_LEN": "4096",
        "MAX_NUM_SEQS": "256",
        "FAST_START": "0",  # `local` would set it to 1
        **MACHINE,
    }


@contextlib.contextmanager
def bare(model: Path) -> Iterator[tuple[str, str]]:
    """Plain `vllm serve` on a socket; its address and the chat route."""
    socket = model / "bare.sock"
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(model), "--served-model-name", "m"]
    with running([*command, "--uds", str(socket), *ARGUMENTS], MACHINE) as process:
        process.line("Application startup complete", START_S)
        yield f"unix:{socket}", "/v1/chat/completions"


@contextlib.contextmanager
def queue(model: Path) -> Iterator[tuple[str, str]]:
    """Gateway and a worker in queue mode; the endpoint's address and the chat route."""
    with running(LOCAL, settings(model)) as process:
        url = process.line("Ready: ", START_S).split("Ready: ")[1].strip()
        root, _, endpoint = url.partition("/v2/")
        yield root, f"/v2/{endpoint}/openai/v1/chat/completions"


@contextlib.contextmanager
def http(model: Path) -> Iterator[tuple[str, str]]:
    """A worker in http mode on a free port; its address and the chat route."""
    port = free_port()
    variables = {**settings(model), "WORKER_MODE": "http", "PORT": str(port)}
    with running(START, variables) as process:
        process.line("Application startup complete", START_S)
        yield f"http://127.0.0.1:{port}", "/v1/chat/completions"


WAYS: Mapping[str, Callable[[Path], contextlib.AbstractContextManager[tuple[str, str]]]] = {
    "plain vllm serve": bare,
    "http mode": http,
    "queue mode": queue,
}


@pytest.mark.parametrize("way", WAYS)
async def test_streams_at_once(way: str, tmp_path: Path, figure: Callable[[str], None]) -> None:
    """1, 32, 128 and 256 streams of 128 tokens: every stream is whole; tokens per second, first token and gap."""
    model = llama(tmp_path)
    with WAYS[way](model) as (url, path):
        await measure(url, path, "m", 8)  # warm
        found: list[Load] = [await measure(url, path, "m", streams) for streams in STREAMS]
    for load in found:
        figure(f"{load.streams}: {load}")
    assert [load.streams for load in found] == list(STREAMS)
