"""What `local` starts: pure, as tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker_vllm.local.console import snippets
from worker_vllm.local.launch_config import LocalConfig, embedded_model, model_environment, worker_environment
from worker_vllm.local.start_progress import LogLine, read_line

PARROT = {
    "ENGINE": "vllm",
    "MODEL_NAME": str(embedded_model()),
    "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "parrot",
}

MODELS: list[tuple[str, LocalConfig, dict[str, str], dict[str, str]]] = [
    ("no argument: the embedded model", LocalConfig(), {}, PARROT),
    ("a hub id", LocalConfig(model="org/name"), {}, {"ENGINE": "vllm", "MODEL_NAME": "org/name"}),
    ("MODEL_NAME", LocalConfig(), {"MODEL_NAME": "org/name"}, {"ENGINE": "vllm", "MODEL_NAME": "org/name"}),
    (
        "--model over MODEL_NAME",
        LocalConfig(model="a/b"),
        {"MODEL_NAME": "c/d"},
        {"ENGINE": "vllm", "MODEL_NAME": "a/b"},
    ),
    ("echo", LocalConfig(engine="echo"), {}, {"ENGINE": "echo", "MODEL_NAME": "echo"}),
    ("a server that runs already", LocalConfig(), {"ENGINE_URL": "http://x"}, {}),
]


@pytest.mark.parametrize(("config", "env", "expected"), [row[1:] for row in MODELS], ids=[row[0] for row in MODELS])
def test_the_model_of_a_worker(config: LocalConfig, env: dict[str, str], expected: dict[str, str]) -> None:
    """A directory is served under its name, so that clients need not know the path."""
    assert model_environment(config, env) == expected


def test_a_directory_keeps_the_name_it_was_given(tmp_path: Path) -> None:
    """OPENAI_SERVED_MODEL_NAME_OVERRIDE is the user's."""
    chosen = model_environment(LocalConfig(model=str(tmp_path)), {"OPENAI_SERVED_MODEL_NAME_OVERRIDE": "mine"})
    assert chosen == {"ENGINE": "vllm", "MODEL_NAME": str(tmp_path)}


def test_a_worker_sees_the_platform_it_expects_and_none_of_the_gateways_secrets() -> None:
    """The caller's own variables pass, RunPod's and the gateway's are replaced."""
    env = {"DTYPE": "float32", "RUNPOD_POD_ID": "real", "GATEWAY_API_KEY": "k", "PORT": "80", "DRAIN_TIMEOUT": "9"}
    got = worker_environment(LocalConfig(model="a/b", key="k"), env, "http://127.0.0.1:1", "worker-1")
    base = "http://127.0.0.1:1/v2/local"
    assert got == {
        "DTYPE": "float32",
        "DRAIN_TIMEOUT": "9",
        "FAST_START": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "LOG_LEVEL": "INFO",
        "ENGINE": "vllm",
        "MODEL_NAME": "a/b",
        "WORKER_MODE": "queue",
        "LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
        "RUNPOD_POD_ID": "worker-1",
        "RUNPOD_ENDPOINT_ID": "local",
        "RUNPOD_AI_API_KEY": "k",
        "RUNPOD_PING_INTERVAL": "1000",
        "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=local",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=local",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=local",
        "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID?gpu=local",
    }


LINES: list[tuple[str, str, LogLine, str | None, bool]] = [
    (
        "a part of the engine's start",
        '{"level": "INFO", "message": "(Worker pid=1) INFO Starting to load model x...", "source": "engine"}',
        LogLine("INFO", "(Worker pid=1) INFO Starting to load model x...", engine=True),
        "loading the weights",
        False,
    ),
    ("a warning of ours", '{"level": "WARNING", "message": "hm"}', LogLine("WARNING", "hm"), None, True),
    ("information of ours", '{"level": "INFO", "message": "job done"}', LogLine("INFO", "job done"), None, False),
    (
        "no log line",
        "Traceback (most recent call last):",
        LogLine("TEXT", "Traceback (most recent call last):"),
        None,
        True,
    ),
    ("JSON of another kind", "[1]", LogLine("TEXT", "[1]"), None, True),
]


@pytest.mark.parametrize("row", LINES, ids=[row[0] for row in LINES])
def test_what_a_worker_logs_becomes_what_a_person_sees(row: tuple[str, str, LogLine, str | None, bool]) -> None:
    """(text) → (parsed line, phase that begins with it, whether to show it)."""
    _, text, line, phase, needs_attention = row
    read = read_line(text)
    assert (read, read.phase, read.needs_attention) == (line, phase, needs_attention)


@pytest.mark.parametrize("key", ["", "k3y"])
def test_the_snippets_never_show_the_key(key: str) -> None:
    """They name the variable instead."""
    text = snippets("http://127.0.0.1:1/v2/local", "/openai/v1", "parrot", key)
    assert text.splitlines()[0] == "Ready: http://127.0.0.1:1/v2/local"
    assert "k3y" not in text
    assert ("GATEWAY_API_KEY" in text) == bool(key)
