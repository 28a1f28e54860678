"""A package named `vllm` that imports in no time and serves the echo engine: the engine's entry point without vLLM.

It is laid into a directory for PYTHONPATH. Its `serve` module obeys two variables, and is imported ahead only:
FAKE_VLLM_GATE names a FIFO whose end the import waits for, FAKE_VLLM_DIES ends the process with that status.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

MAIN = """
import os, sys

def main():
    print("fake vllm, offline:", os.environ.get("HF_HUB_OFFLINE"), "argv:", *sys.argv, flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "worker_vllm.echo", *sys.argv[3:]])
"""
SERVE = """
import os

if "FAKE_VLLM_DIES" in os.environ:
    os._exit(int(os.environ["FAKE_VLLM_DIES"]))
if "FAKE_VLLM_GATE" in os.environ:
    open(os.environ["FAKE_VLLM_GATE"]).read()
"""
FILES = {
    "vllm/__init__.py": "",
    "vllm/entrypoints/__init__.py": "",
    "vllm/entrypoints/cli/__init__.py": "",
    "vllm/entrypoints/cli/main.py": MAIN,
    "vllm/entrypoints/cli/serve.py": SERVE,
    "vllm-0.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: vllm\nVersion: 0.0\n",
}


def with_fake_vllm(directory: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment in which `vllm` is the fake one, which is written into `directory`."""
    for name, text in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {**environment, "PYTHONPATH": str(directory)}
