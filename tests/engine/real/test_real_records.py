"""Receipt and crash bundle of the real engine: its weights, its phases, and its core killed while it streams."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.commands.test_start_records import free_address, receipt
from tests.support.attached import gateway_process, worker_environment, worker_process
from tests.support.http import Http
from tests.support.paths import PARROT
from tests.support.processes import Process

pytestmark = pytest.mark.vllm

CANARY = "canary-7f3a9c-secret"
PROMPT = "the colour of my bank card"
BODY = {"model": "parrot", "prompt": PROMPT, "stream": True, "max_tokens": 20_000, "ignore_eos": True}
WEIGHTS = sum(path.stat().st_size for path in PARROT.glob("*.safetensors"))


def kill_core(process: Process) -> None:
    """kill -9 of the engine's core, not of its server; its log lines begin with its process id."""
    os.kill(int(re.findall(r"\(EngineCore pid=(\d+)\)", process.output())[-1]), signal.SIGKILL)


def check_receipt(found: dict[str, Any]) -> None:
    """Everything that the real engine tells of a start from a local directory."""
    names = [each["phase"] for each in found["phases"]]
    assert names[:2] == ["worker", "import"]
    assert {"load", "profile", "prepare", "serve"} <= set(names)
    assert found["total_s"] == pytest.approx(sum(each["seconds"] for each in found["phases"]), abs=0.2)
    weights = found["weights"]
    assert (weights["from"], weights["bytes"], weights["download"]) == ("local", WEIGHTS, None)
    assert weights["load"]["bytes"] == WEIGHTS
    assert found["caches"]["weights"] is True


async def test_a_real_core_that_is_killed_leaves_a_bundle(tmp_path: Path) -> None:
    """With the job that it was working on, vLLM's log and command; and the start before has its receipt."""
    (tmp_path / "volume").mkdir()
    places = {"HOME": str(tmp_path), "BASE_PATH": str(tmp_path / "volume")}
    engine = {"MODEL_NAME": str(PARROT), "SERVED_MODEL_NAME": "parrot", "ENFORCE_EAGER": "1", "HF_TOKEN": CANARY}
    address = free_address()
    with gateway_process() as gateway:
        environment = {**worker_environment(gateway, "w1"), **engine, **places, "METRICS_ADDRESS": address}
        with worker_process(environment) as process:
            await asyncio.to_thread(process.line, "receipt of the start: ", 300)
            check_receipt(await asyncio.to_thread(receipt, address))
            async with Http(gateway) as http:
                job = {"input": {"openai_route": "/v1/completions", "openai_input": BODY}}
                job_id = (await http.post("/run", job)).json["id"]
                while not (await http.get(f"/stream/{job_id}")).json["stream"]:
                    pass  # the platform holds each request until there is a piece
                kill_core(process)
                line = await asyncio.to_thread(process.line, "engine's death is in ")
                assert (await http.get(f"/status-sync/{job_id}")).json["status"] == "FAILED"
    text = Path(json.loads(line)["message"].split(" is in ")[1].split(";")[0]).read_text()
    found = json.loads(text)
    assert [(each["job"], each["path"]) for each in found["requests_in_flight"]] == [(job_id, "/v1/completions")]
    assert found["engine_command"][:3] == ["vllm", "serve", str(PARROT)]
    assert any("vLLM API server version" in line or "non-default args" in line for line in found["log"])
    assert found["cause"]["healthy_s"] > 0
    assert CANARY not in text
    assert PROMPT not in text
