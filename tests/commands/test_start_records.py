"""What a worker keeps of its engine's starts and deaths: receipts and crash bundles, over the echo engine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.support.attached import gateway_process, worker_environment, worker_process
from tests.support.http import Http
from tests.support.processes import Process
from worker_vllm.engine.process.guard import descendants
from worker_vllm.engine.supervision.process_watcher import command_line

pytestmark = pytest.mark.timeout(60)

PROGRAM = (sys.executable, "-m", "worker_vllm")
CANARY = "canary-7f3a9c-secret"
PROMPT = "the colour of my bank card"
STREAM = {"model": "echo", "prompt": PROMPT, "stream": True, "echo": {"hang_after": 2}}
JOB = {"input": {"openai_route": "/v1/completions", "openai_input": STREAM}}
# Lines of vLLM 0.32.0, which end phases.
START_LOG = """non-default args: {'model': 'm'}
Using max model len 4096
Starting to load model m...
Compiling a graph for compile range (1, 2048) takes 3.10 s
Application startup complete"""


def free_address() -> str:
    """An address of the loopback that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return f"127.0.0.1:{held.getsockname()[1]}"


def echo_worker(gateway: str, home: Path, **more: str) -> dict[str, str]:
    """A worker over the echo engine whose home and volume are the test's, with secrets in its environment."""
    places = {"HOME": str(home), "BASE_PATH": str(home / "volume")}
    secrets = {"HF_TOKEN": CANARY, "AWS_SECRET_ACCESS_KEY": f"{CANARY}-aws"}
    return {**worker_environment(gateway, "w1"), "ENGINE": "echo", "MODEL_NAME": "echo", **places, **secrets, **more}


def receipt(address: str) -> dict[str, Any]:
    """What the worker serves at /start, once it serves."""
    while True:
        try:
            with urlopen(f"http://{address}/start") as answer:
                found: dict[str, Any] = json.load(answer)
        except URLError:
            time.sleep(0.02)  # the worker listens there soon after its first line
        else:
            return found


def kill_engine(process: Process) -> None:
    """kill -9 of the engine's own process, not of its guard."""
    engine = [pid for pid in descendants(process.pid) if b"worker_vllm.echo" in command_line(pid)]
    os.kill([pid for pid in engine if b"guard.py" not in command_line(pid)][-1], signal.SIGKILL)


async def crashed(gateway: str, environment: dict[str, str]) -> tuple[str, Path]:
    """The id of a job whose engine was killed while it streamed, and the bundle that the worker's log names."""
    with worker_process(environment) as process:
        await asyncio.to_thread(process.line, "the engine is ready")
        async with Http(gateway) as http:
            job = (await http.post("/run", JOB)).json["id"]
            while not (await http.get(f"/stream/{job}")).json["stream"]:
                pass  # the platform holds each request until there is a piece
            kill_engine(process)
            line = await asyncio.to_thread(process.line, "engine's death is in ")
            assert (await http.get(f"/status-sync/{job}")).json["status"] == "FAILED"
        assert CANARY not in process.output()
    return job, Path(json.loads(line)["message"].split(" is in ")[1].split(";")[0])


def test_the_receipt_of_a_start_is_logged_served_and_recorded(tmp_path: Path) -> None:
    """Its phases come from the engine's log, its savings from the starts before it; `doctor --worker` shows it."""
    address = free_address()
    with gateway_process() as gateway:
        environment = echo_worker(gateway, tmp_path, METRICS_ADDRESS=address)
        with worker_process({**environment, "ECHO_START_LOG": START_LOG}) as process:
            process.line("receipt of the start: ")
            first = receipt(address)
        with worker_process({**environment, "FAST_START": "1"}) as process:
            line = process.line("receipt of the start: ")
            second = receipt(address)
            shown = subprocess.run([*PROGRAM, "doctor", "--worker", address], capture_output=True, check=True)
        third = worker_process({**environment, "ECHO_START_LOG": START_LOG})
        with third as process:
            process.line("receipt of the start: ")
            last = receipt(address)
    phases = [each["phase"] for each in first["phases"]]
    assert phases == ["worker", "import", "resolve", "processes", "serve", "warm-up /v1/completions"]
    assert first["total_s"] == pytest.approx(sum(each["seconds"] for each in first["phases"]), abs=0.1)
    assert first["caches"]["graphs"] == "built"
    assert first["would_have_saved"]["fast_start"]["note"].startswith("not measured: ")
    assert second["would_have_saved"]["fast_start"]["note"] == "this start had FAST_START=1"
    assert json.loads(shown.stdout) == second
    assert f"receipt of the start: {second['total_s']:.1f} s (worker " in line
    saved = last["would_have_saved"]["fast_start"]
    assert (saved["starts"], saved["seconds"]) == (1, pytest.approx(last["total_s"] - second["total_s"], abs=0.002))
    assert len(json.loads((tmp_path / ".cache" / "vllm.starts.json").read_text())) == 3
    inherited = {**environment, "PATH": os.environ["PATH"]}
    checked = subprocess.run(
        [*PROGRAM, "doctor", "--no-start"], env=inherited, capture_output=True, text=True, check=True
    )
    recorded = checked.stdout.split("earlier starts\n")[1].splitlines()
    assert [line.split("graphs ")[1] for line in recorded] == ["built", "not used, FAST_START", "built"]


def test_the_receipt_does_not_delay_readiness(tmp_path: Path) -> None:
    """The engine is ready, and jobs are taken, before the receipt is written."""
    with gateway_process() as gateway, worker_process(echo_worker(gateway, tmp_path)) as process:
        process.line("receipt of the start: ")
        lines = process.output().splitlines()
    order = [
        next(n for n, line in enumerate(lines) if part in line) for part in ("engine is ready", "receipt of the")
    ]
    assert order == sorted(order)


async def test_a_killed_engine_leaves_a_bundle_on_the_volume(tmp_path: Path) -> None:
    """Cause, settings, the job that was in flight; private; no secret and no prompt in it."""
    (tmp_path / "volume").mkdir()
    with gateway_process() as gateway:
        job, path = await crashed(gateway, echo_worker(gateway, tmp_path, MAX_NUM_SEQS="4"))
    text = path.read_text()
    found = json.loads(text)
    assert path.parent == tmp_path / "volume" / ".worker-vllm" / "crashes"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [(each["job"], each["path"]) for each in found["requests_in_flight"]] == [(job, "/v1/completions")]
    assert (found["cause"]["exit_code"], found["worker"]) == (-9, "w1")
    assert {"name": "MAX_NUM_SEQS", "value": 4, "source": "environment"} in found["settings"]
    assert "echo engine: serving echo" in found["log"][-1]
    assert CANARY not in text
    assert PROMPT not in text


async def test_the_bundle_replays(tmp_path: Path) -> None:
    """The engine starts with its settings and gets the requests that were in flight; status 0 when it survives."""
    temporary = tmp_path / "t"
    temporary.mkdir()
    with gateway_process() as gateway:
        more = {"CRASH_BUNDLE_PROMPTS": "1", "TMPDIR": str(temporary)}
        job, path = await crashed(gateway, echo_worker(gateway, tmp_path, **more))
    found = json.loads(path.read_text())
    assert path.parent == temporary / f"vllm-worker-crashes-{os.geteuid()}"  # no volume here
    assert json.loads(found["requests_in_flight"][0]["body"])["prompt"] == PROMPT
    command = [*PROGRAM, *found["replay"].split()[1:], "--timeout", "1"]
    inherited = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env=inherited)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"  {job} /v1/completions: not answered within 1 s\n" in done.stdout
    assert done.stdout.endswith("it survived 1 requests\n")
    assert "note: HF_TOKEN is a secret: it is not in the bundle, and not set here\n" in done.stdout


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"environment": {}}'])
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: str) -> None:
    """Status 2 and the reason."""
    (tmp_path / "x.json").write_text(content)
    command = [*PROGRAM, "replay", str(tmp_path / "x.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "expected a crash bundle" in done.stderr) == (2, True)


def test_an_attached_worker_has_no_receipt(tmp_path: Path) -> None:
    """It has started no engine: 404 that says so, also by `doctor --worker`."""
    address = free_address()
    with gateway_process() as gateway:
        environment = worker_environment(gateway, "w1")
        attached = {**environment, "ENGINE_URL": "http://127.0.0.1:9", "METRICS_ADDRESS": address}
        with worker_process({**attached, "LOG_LEVEL": "DEBUG"}):
            command = [*PROGRAM, "doctor", "--worker", address]
            while "refused" in (done := subprocess.run(command, capture_output=True, text=True, check=False)).stderr:
                pass  # the worker still starts
    assert (done.returncode, "runs elsewhere (ENGINE_URL)" in done.stderr) == (1, True)
