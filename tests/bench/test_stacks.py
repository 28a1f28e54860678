"""The original in the suite: its own program in its own environment, our engine under the name that it starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks.stacks import original_over_echo

MAIN = """
import os, subprocess, time, urllib.request

port = os.environ["VLLM_PORT"]
words = ["--host", "127.0.0.1", "--port", port, "--model", os.environ["MODEL_NAME"]]
engine = subprocess.Popen(["vllm", "serve", *words])
while True:
    try:
        print("models:", urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models").read().decode(), flush=True)
        break
    except OSError:
        time.sleep(0.05)  # as the original asks its server
print("concurrency:", os.environ["MAX_CONCURRENCY"], "jobs:", os.environ["RUNPOD_WEBHOOK_GET_JOB"], flush=True)
engine.terminate()
engine.wait()
"""


def checkout(directory: Path) -> Path:
    """A checkout whose program starts `vllm serve` as the original's does, and asks it for its models."""
    (directory / ".venv" / "bin").mkdir(parents=True)
    (directory / "src").mkdir()
    (directory / ".venv" / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    (directory / "src" / "main.py").write_text(MAIN)
    return directory


def test_what_it_starts_as_vllm_is_the_stamping_engine(tmp_path: Path) -> None:
    with original_over_echo(checkout(tmp_path), 1.0) as found:
        worker = found.processes[0]
        assert '"id":"echo"' in worker.line("models:").replace(" ", "")
        endpoint = found.target.url.removesuffix("/openai/v1")
        assert worker.line("concurrency:") == f"concurrency: 1024 jobs: {endpoint}/job-take/$ID?gpu=none"


def test_a_directory_without_it_says_how_to_fetch_it(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"fetch it with benchmarks/original\.sh"), original_over_echo(tmp_path, 1.0):
        pass
