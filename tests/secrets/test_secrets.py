"""A canary in every secret variable of a running stack appears in no output."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from pathlib import Path

import pytest

from tests.support.attached import gateway_process, worker_environment, worker_process
from tests.support.http import Http
from tests.support.processes import running
from worker_vllm.settings.catalog.catalog import Kind, catalog

CANARY = "canary-7f3a9c"
MISNAMED = ("HUGGINGFACE_HUB_TOKEN", "HF_TOKENS", "hf_token", "RUNPOD_APIKEY", "HF_TOKE", "WANDB_API_KEY")
SECRETS = {setting.name: f"{CANARY}-{setting.name}" for setting in catalog().values() if setting.kind is Kind.SECRET}
COMMAND = [sys.executable, "-m", "worker_vllm", "local", "--engine", "echo", "--port", "0"]
CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
JOBS = (
    {"prompt": "hello"},
    {"prompt": 5},
    {"prompt": "hello", "sampling_params": {"temprature": 1}},
    {"openai_route": "/v1/chat/completions", "openai_input": CHAT},
    {"openai_route": "/v1/chat/completions", "openai_input": {**CHAT, "model": "no-such-model"}},
    {"openai_route": "/admin", "openai_input": {}},
)


def free_port() -> int:
    """A free port of the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def command_lines(root: int) -> str:
    """The command lines of a process and of all its descendants, as every user of the machine can read them."""
    parents, found = {}, []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    for pid in family:
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " "))
    return "\n".join(found)


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
@pytest.mark.timeout(120)
async def test_no_secret_leaves_the_process_that_needs_it(level: str) -> None:
    """Logs at every level, error bodies, metrics, command lines; each job is run, good ones and bad ones."""
    misnamed = {name: f"{CANARY}-{name}" for name in MISNAMED}
    quiet = {"IGNORE_ENV": ",".join(MISNAMED), "LOG_LEVEL": level, "DRAIN_TIMEOUT": "1"}
    environment = {**SECRETS, **misnamed, **quiet, "METRICS_ADDRESS": f"127.0.0.1:{free_port()}"}
    with running(COMMAND, environment) as process:
        url = process.line("Ready: ").split("Ready: ")[1].strip()
        key = {"Authorization": f"Bearer {SECRETS['GATEWAY_API_KEY']}"}
        async with Http(url, key) as http:
            answers = [await http.post("/runsync", {"input": job}) for job in JOBS]
            answers += [await http.get("/health"), await http.get("/metrics")]
        async with Http(f"http://{environment['METRICS_ADDRESS']}") as http:
            answers.append(await http.get("/metrics"))
        async with Http(url, {"Authorization": "Bearer wrong"}) as http:
            refused = await http.get("/health")
        seen = command_lines(process.pid)
    assert refused.status == 401
    assert [answer.json["status"] for answer in answers[:2]] == ["COMPLETED", "FAILED"]
    assert "worker_vllm start" in seen
    assert "worker_vllm.echo" in seen
    outputs = {"logs": process.output(), "command lines": seen, "refusal": refused.body.decode()}
    outputs |= {f"answer {number}": answer.body.decode() for number, answer in enumerate(answers)}
    assert [place for place, text in outputs.items() if CANARY in text] == []


@pytest.mark.parametrize(
    "environment",
    [
        *({name: CANARY} for name in MISNAMED[:-1]),
        {"VLLM_EXTRA_ARGS": f"--seed {CANARY} {CANARY} --api-key={CANARY}"},
        {"MODEL_NAME": "hf_canary7f3a9cAbCdEfGhIjKl", "HF_TOKEN": "org/model"},
        {"HF_TOKEN": CANARY, "ECHO_START_LOG": f"vllm: error: argument --x: got {CANARY}", "ECHO_START_EXIT": "2"},
    ],
    ids="+".join,
)
@pytest.mark.timeout(40)
async def test_a_refused_start_shows_no_caller_the_secret(environment: dict[str, str]) -> None:
    """Neither in the log nor in a job's error, which every caller reads."""
    with gateway_process() as endpoint:
        platform = worker_environment(endpoint, "w1")
        with worker_process({**platform, "ENGINE": "echo", "MODEL_NAME": "org/m", **environment}) as process:
            async with Http(endpoint) as http:
                answer = await http.post("/runsync", {"input": {"prompt": "hello"}})
            log = process.output()
    assert answer.json["status"] == "FAILED"
    assert json.loads(answer.json["error"])["code"] == 503
    assert [text for text in (log, answer.body.decode()) if "canary" in text] == []
