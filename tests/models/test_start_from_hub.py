"""A start whose model is only on the hub: fetched first, then served by an engine that asks the hub for nothing."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

import pytest
from hub.server import Repository, serving
from support.processes import running

PARROT = Path(__file__).resolve().parents[2] / "models" / "parrot"
NAMES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
MESSAGE = "Fetched once, served for ever"


@pytest.mark.vllm
@pytest.mark.matrix
def test_a_model_on_the_hub_is_fetched_and_served_offline(tmp_path: Path) -> None:
    """Into the original's place on the volume; once it is there the hub may go away."""
    files = {name: (PARROT / name).read_bytes() for name in NAMES}
    with serving(org__parrot=Repository({**files, "README.md": b"# parrot", "pytorch_model.bin": b"x"})) as hub:
        environment = {"HF_ENDPOINT": hub.address, "BASE_PATH": str(tmp_path), "HOME": str(tmp_path / "home")}
        command = [sys.executable, "-m", "worker_vllm", "local", "--port", "0", "--model", "org/parrot"]
        with running(command, environment) as process:
            url = process.line("Ready: ", 300).split("Ready: ")[1].strip()
            assert sorted(hub.downloads) == sorted(NAMES)
            hub.down = True
            hub.requests.clear()
            body = {"messages": [{"role": "user", "content": MESSAGE}], "max_tokens": 64, "temperature": 0}
            assert ask(f"{url}/openai/v1/chat/completions", body) == ("org/parrot", MESSAGE)
            assert hub.requests == []
    assert (tmp_path / "huggingface-cache" / "hub" / "models--org--parrot" / "refs" / "main").is_file()


def ask(url: str, body: object) -> tuple[str, str]:
    """The model that answers and what it says."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        told = json.load(answer)
    return told["model"], told["choices"][0]["message"]["content"]
