"""Containers with as little as they can have of rights, files, memory and network; with the real engine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.containers import podman
from tests.containers.container import START_LIMIT_S, Container, ask, chat, container, content, send, until
from tests.containers.images import MODEL, Image, parrot
from tests.hub.repositories import COMMIT
from tests.support.attached import worker_environment
from tests.support.engines.model_process import MODEL_PROCESS

pytestmark = [pytest.mark.containers, pytest.mark.timeout(2400)]

KV = {"VLLM_CPU_KVCACHE_SPACE": "1"}
LOCKED = ["--read-only", "--user=1000:1000", "--cap-drop=all", "--security-opt=no-new-privileges"]
SHARED = "--shm-size=1g"
MESSAGE = "Polly wants 3 crackers"
STREAMS = 50
# Runs inside a container without a network: asks the gateway there, and prints the answer.
ASK = """
import json, sys, urllib.request
body = json.dumps(json.loads(sys.argv[1])).encode()
url = "http://127.0.0.1:8000/v2/local/openai/v1/" + sys.argv[2]
request = urllib.request.Request(url, body if sys.argv[1] != "null" else None, {"Content-Type": "application/json"})
print(urllib.request.urlopen(request, timeout=200).read().decode())
"""
# Takes memory until the kernel ends a process of the container; the engine's are those that it is to end first.
FILL = """
import os, pathlib
for entry in pathlib.Path("/proc").iterdir():
    if entry.name.isdigit() and int(entry.name) != os.getpid():
        if b"worker_vllm.engine.child" in (entry / "cmdline").read_bytes():
            (entry / "oom_score_adj").write_text("1000")
held = []
while len(held) < 1000:
    held.append(bytearray(8 << 20))
"""


def inside(up: Container, body: object, path: str) -> dict[str, object]:
    """Ask the gateway in a container that has no network."""
    found: dict[str, object] = json.loads(up.execute("python3", "-c", ASK, json.dumps(body), path, timeout_s=240))
    return found


def local(up: Container) -> list[object]:
    """Models and an answer, once `worker-vllm local` in the container is ready."""
    until(lambda: "Ready: " in up.process.output())
    models = inside(up, None, "models")
    answer = inside(up, chat(MESSAGE), "chat/completions")
    return [models["data"][0]["id"], answer["choices"][0]["message"]["content"]]  # type: ignore[index]


@pytest.mark.parametrize("place", ["--tmpfs=/tmp", "--tmpfs=/home/someone:mode=1777"], ids=["/tmp", "HOME"])
def test_read_only_and_without_rights(gpu: Image, gateway: str, place: str, figure: Callable[[str], None]) -> None:
    """Read-only root, user 1000, no capabilities, HOME on a writable volume: jobs are answered, stop with 0."""
    options = [*LOCKED, "--network=host", SHARED, place]
    home = place.removeprefix("--tmpfs=").split(":")[0]
    given = {**worker_environment(gateway, "worker-1"), **KV, "HOME": home}
    started = time.monotonic()
    with container(gpu.name, given, options) as up:
        assert content(ask(gateway, MESSAGE)) == MESSAGE, up.process.output()
        figure(f"first answer after {time.monotonic() - started:.0f} s")
        assert up.execute("id", "-u") == "1000"
        assert up.stop() == 0, up.process.output()


def test_without_a_network_the_baked_model_serves(gpu: Image) -> None:
    """`--network=none`, read-only, user 1000, an empty volume over BASE_PATH: gateway and worker inside answer."""
    options = [*LOCKED, "--network=none", SHARED, "--volume=/runpod-volume", "--entrypoint=worker-vllm"]
    with container(gpu.name, {**KV, "HOME": "/tmp"}, options, ["local", "--port", "8000"]) as up:
        assert local(up) == [MODEL, MESSAGE], up.process.output()


def test_a_model_on_the_volume_serves_without_a_network(cpu: Image, tmp_path: Path) -> None:
    """A hub cache on a volume over BASE_PATH holds the model: it is found there, and nothing is downloaded."""
    snapshot = tmp_path / "huggingface-cache/hub/models--org--parrot/snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for name, text in parrot().items():
        (snapshot / name).write_bytes(text)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    options = ["--network=none", SHARED, f"--volume={tmp_path}:/runpod-volume:ro"]
    with container(cpu.name, {"MODEL_NAME": MODEL}, options, ["local", "--port", "8000"]) as up:
        assert local(up) == [MODEL, MESSAGE], up.process.output()


def test_shared_memory_of_64_mb_is_answered(gpu: Image, gateway: str) -> None:
    """Without --shm-size /dev/shm has 64 MB, too little for several engine processes: each job says so."""
    given = {**worker_environment(gateway, "worker-1"), **KV, **MODEL_PROCESS}
    with container(gpu.name, given, ["--network=host"]) as up:
        job = ask(gateway, MESSAGE)
        assert job["status"] == "FAILED", up.process.output()
        assert "--shm-size 1g" in json.loads(job["error"])["message"]
        assert up.healthy() == 0


def test_an_engine_killed_by_the_kernel_under_load(gpu: Image, gateway: str, figure: Callable[[str], None]) -> None:
    """--memory is exceeded under 50 streams: the kernel ends the engine, clients get a sentence, then it serves."""
    given = {**worker_environment(gateway, "worker-1"), **KV}
    with container(gpu.name, given, ["--network=host", SHARED, "--memory=5g", "--memory-swap=5g"]) as up:
        assert content(ask(gateway, MESSAGE)) == MESSAGE
        with ThreadPoolExecutor(STREAMS) as pool:
            more = {"max_tokens": 2000, "ignore_eos": True}
            jobs = [pool.submit(ask, gateway, f"{MESSAGE} {number}", **more) for number in range(STREAMS)]
            until(lambda: send(f"{gateway}/health")[1]["jobs"]["inProgress"])
            fill = threading.Thread(target=lambda: podman.call("podman", "exec", up.name, "python3", "-c", FILL))
            fill.start()
            answers = [job.result() for job in jobs]
            fill.join()
        failed = [answer for answer in answers if answer["status"] == "FAILED"]
        assert failed, up.process.output()[-3000:]
        sentences = {json.loads(answer["error"])["message"] for answer in failed}
        assert all("memory" in sentence for sentence in sentences), sentences
        assert content(ask(gateway, MESSAGE)) == MESSAGE
        figure(f"{len(failed)} of {STREAMS} jobs failed with: {sorted(sentences)[0]}")


def test_memory_too_small_for_the_engine(gpu: Image, gateway: str, figure: Callable[[str], None]) -> None:
    """--memory below what a start needs: attempts, then status 1 and the sentence in the log; no job is taken."""
    given = {**worker_environment(gateway, "worker-1"), **KV}
    started = time.monotonic()
    with container(gpu.name, given, ["--network=host", SHARED, "--memory=600m", "--memory-swap=600m"]) as up:
        assert up.process.exit_code(START_LIMIT_S) == 1
        figure(f"exit status 1 after {time.monotonic() - started:.0f} s")
        assert "memory (not the GPU's) ran out, and the kernel killed a process" in up.process.output()
    assert send(f"{gateway}/health")[1]["jobs"]["inProgress"] == 0
