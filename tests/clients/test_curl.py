"""Raw `curl`: what a user pastes into a shell."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from tests.support.http import parse_events
from tests.support.stack import Stack

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")

HELLO = {"messages": [{"role": "user", "content": "héllo €"}], "temperature": 0}


def curl(url: str, body: Any = None, *options: str) -> bytes:
    """The answer's bytes."""
    data = [] if body is None else ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    command = ["curl", "-sS", "--max-time", "8", *options, *data, url]
    return subprocess.run(command, check=True, capture_output=True, timeout=9).stdout


def test_openai_chat(up: Stack) -> None:
    """Whole, without naming a model."""
    answer = json.loads(curl(f"{up.openai_url}/chat/completions", HELLO))
    assert (answer["model"], answer["choices"][0]["message"]["content"]) == (up.model, "héllo €")


def test_openai_stream(up: Stack) -> None:
    """Server-sent events, ended by [DONE]."""
    found = curl(f"{up.openai_url}/chat/completions", {**HELLO, "stream": True}, "-N", "-D", "-")
    head, _, stream = found.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-type: text/event-stream" in head.lower()
    *events, done = parse_events(stream)
    text = "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
    assert (text, done) == ("héllo €", "[DONE]")


def test_models(up: Stack) -> None:
    """GET without a body."""
    assert [card["id"] for card in json.loads(curl(f"{up.openai_url}/models"))["data"]] == [up.model]


def test_native_runsync(up: Stack) -> None:
    """A native job with messages; its output is a list of items."""
    job = {"input": {"messages": HELLO["messages"], "sampling_params": {"temperature": 0, "max_tokens": 50}}}
    answer = json.loads(curl(f"{up.url}/runsync", job))
    assert answer["status"] == "COMPLETED"
    (item,) = answer["output"]
    assert item["choices"] == [{"tokens": ["héllo €"]}]


def test_native_run_and_stream(up: Stack) -> None:
    """/run, then /stream until it is over: the pieces join to the text."""
    job = {
        "input": {
            "messages": HELLO["messages"],
            "stream": True,
            "sampling_params": {"temperature": 0, "max_tokens": 50},
        }
    }
    job_id = json.loads(curl(f"{up.url}/run", job))["id"]
    text, status = "", ""
    while status != "COMPLETED":
        answer = json.loads(curl(f"{up.url}/stream/{job_id}"))
        status = answer["status"]
        assert status in ("IN_QUEUE", "IN_PROGRESS", "COMPLETED"), answer
        for piece in answer["stream"]:
            text += "".join(piece["output"]["choices"][0]["tokens"])
    assert text == "héllo €"


def test_health(up: Stack) -> None:
    """Workers and jobs, as RunPod counts them."""
    health = json.loads(curl(f"{up.url}/health"))
    assert health["workers"]["ready"] + health["workers"]["running"] + health["workers"]["idle"] >= 1
    assert health["jobs"]["inProgress"] == 0


def test_a_control_route_stays_closed(up: Stack) -> None:
    """404, and the engine is not asked."""
    found = curl(f"{up.url}/openai/v1/load_lora_adapter", {}, "-o", "/dev/null", "-w", "%{http_code}")
    assert found == b"404"
