"""A start whose model is only on the hub: the engine imports while it is fetched, and asks the hub for nothing."""

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
from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.process.guard import descendants, standing
from worker_vllm.engine.supervision.startup import plan_start
from worker_vllm.engine.supervision.supervisor import State, Supervisor
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
    """What sends a worker to this hub, with everything it writes below `directory`."""
    home = directory / "home"
    home.mkdir()
    return {"HF_ENDPOINT": hub.address, "BASE_PATH": str(directory), "HOME": str(home), **more}


@QUICK
async def test_the_engine_imports_while_the_model_is_fetched(held: Hub, tmp_path: Path) -> None:
    """It has imported before the weights are whole, is then told their path, and was offline from its start."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env = with_fake_vllm(tmp_path / "fake", inherited | environment(held, tmp_path))
    beginning = plan_start(EngineSettings(model="org/parrot", served_names=("org/parrot",)), env)
    async with followed(Supervisor(beginning, HttpEngine)) as run:
        await run.line(IMPORTED)
        await asyncio.to_thread(held.halfway.wait)
        assert run.supervisor.state is State.STARTING
        held.hold[WEIGHTS].set()
        assert await run.supervisor.settled() is State.READY, run.supervisor.diagnosis
        snapshot = tmp_path / "huggingface-cache/hub/models--org--parrot/snapshots" / COMMIT
        await run.line(f"offline: 1 argv: vllm serve {snapshot} --uds ")


@QUICK
@pytest.mark.parametrize(
    ("variables", "config", "said"),
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
    tmp_path: Path, variables: dict[str, str], config: dict[str, float], said: str | None
) -> None:
    """One of the two is enough; a config.json that cannot complete it is told, and nothing is served."""
    files = {**MODEL, "config.json": json.dumps({"model_type": "llama", **config}).encode()}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    with serving(org__parrot=Repository(files)) as hub:
        env = with_fake_vllm(
            tmp_path / "fake", inherited | environment(hub, tmp_path, MODEL_NAME="org/parrot", **variables)
        )
        beginning = plan_start(load(env, inspect_host(env)).engine, env)
        async with followed(Supervisor(beginning, HttpEngine)) as run:
            state = await run.supervisor.settled()
            if said is None:
                assert state is State.REFUSING
                assert "expected ROPE_THETA beside it" in run.supervisor.diagnosis
            else:
                assert state is State.READY, run.supervisor.diagnosis
                await run.line(said)


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
        while any(standing(pid) for pid in below) or os.listdir(temporary):
            assert time.monotonic() < deadline, (below, os.listdir(temporary))
            time.sleep(0.02)  # the end of a stranger's process has no event here


@QUICK
def test_a_download_that_fails_leaves_no_engine(tmp_path: Path) -> None:
    """The worker stays to tell why, with nothing below it."""
    with serving() as hub, tempfile.TemporaryDirectory(prefix="w") as temporary:
        with worker(hub, tmp_path, temporary) as process:
            process.line("a model that the hub gives")
            assert (descendants(process.pid), os.listdir(temporary)) == ([], [])


@pytest.mark.vllm
@pytest.mark.matrix
def test_a_model_on_the_hub_is_fetched_and_served_offline(tmp_path: Path) -> None:
    """Into the original's place on the volume, while the engine imports; once it is there the hub may go away."""
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
    """The model that answers and what it says."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        told = json.load(answer)
    return told["model"], told["choices"][0]["message"]["content"]
