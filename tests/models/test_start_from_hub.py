"""A start whose model is only on the hub: the engine imports during the download, and never contacts the hub."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hub.repositories import COMMIT, MODEL
from tests.hub.server import Hub, Repository, serving
from tests.support.engines.fake_vllm import with_fake_vllm
from tests.support.engines.supervised import followed
from tests.support.paths import PARROT
from tests.support.processes import Process, running
from worker_vllm.engine.child.deferred_arguments import IMPORTED
from worker_vllm.engine.child.request_tag import MIDDLEWARE
from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.interface import EngineState
from worker_vllm.engine.process.guard import descendants, read_stat
from worker_vllm.engine.supervision.startup import plan_start
from worker_vllm.engine.supervision.supervisor import Supervisor
from worker_vllm.host_inspection import inspect_host
from worker_vllm.local.launch_config import LocalConfig, worker_environment
from worker_vllm.settings.load import load
from worker_vllm.settings.types import EngineSettings

NAMES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
MESSAGE = "Fetched once, served for ever"


WEIGHTS = "model.safetensors"
QUICK = pytest.mark.timeout(40)


@pytest.fixture
def held() -> Iterator[Hub]:
    """A hub that keeps the second half of the weights back."""
    with serving(org__parrot=Repository(MODEL)) as hub:
        hub.hold[WEIGHTS] = threading.Event()
        yield hub


def environment(hub: Hub, directory: Path, **more: str) -> dict[str, str]:
    """The environment of a worker that uses this hub and writes below `directory`."""
    home = directory / "home"
    home.mkdir()
    return {"HF_ENDPOINT": hub.address, "BASE_PATH": str(directory), "HOME": str(home), **more}


@QUICK
async def test_the_engine_imports_while_the_model_is_fetched(held: Hub, tmp_path: Path) -> None:
    """It imports before the weights are complete, receives their path afterwards, and is offline from its start."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env = with_fake_vllm(tmp_path / "fake", inherited | environment(held, tmp_path))
    plan = plan_start(EngineSettings(model="org/parrot", served_names=("org/parrot",)), env)
    async with followed(Supervisor(plan, HttpEngine)) as run:
        await run.line(IMPORTED)
        await asyncio.to_thread(held.halfway.wait)
        assert run.supervisor.state is EngineState.STARTING
        held.hold[WEIGHTS].set()
        assert await run.supervisor.wait_until_decided() is EngineState.READY, run.supervisor.diagnosis
        snapshot = tmp_path / "huggingface-cache/hub/models--org--parrot/snapshots" / COMMIT
        await run.line(f"offline: 1 argv: vllm serve {snapshot} --middleware {MIDDLEWARE} --uds ")


@QUICK
@pytest.mark.parametrize(
    ("variables", "config", "message"),
    [
        (
            {"ROPE_THETA": "7"},
            {"rope_theta": 1.0},
            '--hf-overrides {"rope_parameters":{"rope_type":"default","rope_theta":7.0}}',
        ),
        (
            {"ROPE_SCALING": '{"type": "yarn", "factor": 4}'},
            {"rope_theta": 5.0},
            '--hf-overrides {"rope_parameters":{"factor":4,"rope_type":"yarn","rope_theta":5.0}}',
        ),
        ({"ROPE_SCALING": '{"type": "yarn", "factor": 4}'}, {}, None),
    ],
    ids=["theta", "scaling", "incomplete"],
)
async def test_rope_settings_are_merged_with_the_config_that_was_fetched(
    tmp_path: Path, variables: dict[str, str], config: dict[str, float], message: str | None
) -> None:
    """One of the two is enough; a config.json that cannot complete it is reported, and nothing is served."""
    files = {**MODEL, "config.json": json.dumps({"model_type": "llama", **config}).encode()}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    with serving(org__parrot=Repository(files)) as hub:
        env = with_fake_vllm(
            tmp_path / "fake", inherited | environment(hub, tmp_path, MODEL_NAME="org/parrot", **variables)
        )
        plan = plan_start(load(env, inspect_host(env)).engine, env)
        async with followed(Supervisor(plan, HttpEngine)) as run:
            state = await run.supervisor.wait_until_decided()
            if message is None:
                assert state is EngineState.REFUSING
                assert "expected ROPE_THETA beside it" in run.supervisor.diagnosis
            else:
                assert state is EngineState.READY, run.supervisor.diagnosis
                await run.line(message)


@contextmanager
def worker(hub: Hub, directory: Path, temporary: str) -> Iterator[Process]:
    """A queue worker with the fake engine, whose platform does not answer."""
    env = with_fake_vllm(directory / "fake", environment(hub, directory, PATH=os.environ["PATH"], TMPDIR=temporary))
    queue = worker_environment(LocalConfig("vllm", "org/parrot"), env, "http://127.0.0.1:9", "w1")
    with running([sys.executable, "-m", "worker_vllm", "start"], queue) as process:
        yield process


@QUICK
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_a_worker_that_ends_during_the_download_leaves_nothing(
    held: Hub, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """No engine, no download, no directory."""
    with tempfile.TemporaryDirectory(prefix="w") as temporary, worker(held, tmp_path, temporary) as process:
        process.line(IMPORTED)
        assert held.halfway.wait(20)
        below = descendants(process.pid)
        assert len(below) == 3
        process.signal(number)
        assert process.exit_code() == status
        deadline = time.monotonic() + 5
        while any(read_stat(pid) for pid in below) or os.listdir(temporary):
            assert time.monotonic() < deadline, (below, os.listdir(temporary))
            time.sleep(0.02)  # the end of a stranger's process has no event here


@QUICK
def test_a_download_that_fails_leaves_no_engine(tmp_path: Path) -> None:
    """The worker stays up to report the reason, without any child process."""
    with serving() as hub, tempfile.TemporaryDirectory(prefix="w") as temporary:
        with worker(hub, tmp_path, temporary) as process:
            process.line("a model that the hub serves")
            assert (descendants(process.pid), os.listdir(temporary)) == ([], [])


@pytest.mark.vllm
@pytest.mark.matrix
def test_a_model_on_the_hub_is_fetched_and_served_offline(tmp_path: Path) -> None:
    """Into the original's place on the volume, while the engine imports; afterwards the hub is not needed."""
    files = {name: (PARROT / name).read_bytes() for name in NAMES}
    with serving(org__parrot=Repository({**files, "README.md": b"# parrot", "pytorch_model.bin": b"x"})) as hub:
        hub.hold[WEIGHTS] = threading.Event()
        command = [sys.executable, "-m", "worker_vllm", "local", "--verbose", "--port", "0", "--model", "org/parrot"]
        with running(command, environment(hub, tmp_path)) as process:
            process.line("engine start: import took", 300)
            assert hub.halfway.wait(60)
            hub.hold[WEIGHTS].set()
            process.line("engine start: rest of the download took", 60)
            url = process.line("Ready: ", 300).split("Ready: ")[1].strip()
            assert sorted(hub.downloads) == sorted(NAMES)
            hub.down = True
            hub.requests.clear()
            body = {"messages": [{"role": "user", "content": MESSAGE}], "max_tokens": 64, "temperature": 0}
            assert ask(f"{url}/openai/v1/chat/completions", body) == ("org/parrot", MESSAGE)
            assert hub.requests == []
    assert (tmp_path / "huggingface-cache/hub/models--org--parrot/refs/main").is_file()


def ask(url: str, body: object) -> tuple[str, str]:
    """The model's name in a chat response, and its content."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        response = json.load(answer)
    return response["model"], response["choices"][0]["message"]["content"]
