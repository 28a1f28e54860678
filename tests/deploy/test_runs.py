"""The compose file by podman-compose, the Deployment by `podman kube play`: the stand-in image with the echo engine.

Left out are the GPU, and the images of Prometheus and Grafana, which lie in a registry.
"""

from __future__ import annotations

import base64
import contextlib
import shlex
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.containers import podman
from tests.containers.container import ask, chat, content, send, until
from tests.containers.images import MODEL, Image
from tests.deploy.environment import command
from tests.deploy.manifests import COMPOSE, KUBERNETES, documents

pytestmark = [pytest.mark.containers, pytest.mark.timeout(2400)]

PROJECT = "wv-compose"


def free_port() -> int:
    """A free port of the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def compose(image: Image, directory: Path, profile: str, *services: str, **variables: str) -> Iterator[None]:
    """Some services of the compose file, without a GPU, for the length of the block; then all are stopped."""
    document = yaml.safe_load(COMPOSE.read_text())  # as it is, but for the GPU that is not here
    for service in document["services"].values():
        service.pop("deploy", None)
    file = directory / COMPOSE.name
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    given = {"IMAGE": image.name, "ENGINE": "echo", "MODEL_NAME": MODEL, **variables}
    options = shlex.join(podman.run_options())
    base = [command("podman-compose"), "--in-pod=false", f"--project-name={PROJECT}", f"--file={file}"]
    base += [f"--profile={profile}", *([f"--podman-run-args={options}"] if options else [])]
    path = {"PATH": f"{Path(command('podman-compose')).parent}:/usr/sbin:/usr/bin:/sbin:/bin", **given}
    try:
        podman.output(*base, "up", "--detach", *services, timeout_s=300, more=path)
        yield
    finally:
        podman.call(*base, "stop", timeout_s=300, more=path)
        podman.call(*base, "down", "--volumes", timeout_s=300, more=path)


def test_compose_runs_gateway_and_worker(image: Image, tmp_path: Path) -> None:
    """podman-compose, profile queue: the worker attaches to the gateway by its name, and a job is answered."""
    port = free_port()
    with compose(image, tmp_path, "queue", "gateway", "worker", GATEWAY_PORT=str(port)):
        endpoint = f"http://127.0.0.1:{port}/v2/local"
        until(lambda: send(f"{endpoint}/health")[0] == 200, 60)
        assert content(ask(endpoint, "Hello")) == "Hello"
        worker = f"{PROJECT}_worker_1"
        assert podman.call("podman", "healthcheck", "run", worker).returncode == 0
        podman.output("podman", "stop", worker)
        state = podman.inspect("container", worker)["State"]
        assert (state["ExitCode"], state["OOMKilled"]) == (0, False)


def test_compose_runs_the_server(image: Image, tmp_path: Path) -> None:
    """podman-compose, profile http: the published port answers with the key and refuses without it; stop with 0."""
    port = free_port()
    with compose(image, tmp_path, "http", "server", SERVER_PORT=str(port), API_KEY="key"):
        url = f"http://127.0.0.1:{port}"
        until(lambda: send(f"{url}/health/ready")[0] == 200, 60)
        assert send(f"{url}/v1/chat/completions", {**chat("Hello"), "model": MODEL})[0] == 401
        podman.output("podman", "stop", f"{PROJECT}_server_1")
        assert podman.inspect("container", f"{PROJECT}_server_1")["State"]["ExitCode"] == 0


def played(image: Image, port: int) -> str:
    """worker.yaml as podman can play it here: the image at hand, no GPU, the port on this machine."""
    (path,) = [each for each in KUBERNETES if each.name == "worker.yaml"]
    found: list[dict[str, Any]] = []
    for document in documents(path):
        if document["kind"] in ("Service", "Secret"):  # podman has no Service, and keeps secrets apart
            continue
        if document["kind"] == "Deployment":
            container = document["spec"]["template"]["spec"]["containers"][0]
            container["image"] = image.name
            container["env"].append({"name": "ENGINE", "value": "echo"})
            container["resources"] = {}
            http, metrics = container["ports"]
            http |= {"hostPort": port, "hostIP": "127.0.0.1"}
            metrics |= {"hostPort": free_port(), "hostIP": "127.0.0.1"}
        found.append(document)
    return str(yaml.safe_dump_all(found, sort_keys=False))


def test_podman_plays_the_deployment(image: Image, tmp_path: Path, figure: Callable[[str], None]) -> None:
    """`podman kube play` of worker.yaml: its probes' paths, the secret's keys, read-only, user 1000, stop with 0."""
    port = free_port()
    file = tmp_path / "worker.yaml"
    file.write_text(played(image, port))
    secret = tmp_path / "secret.yaml"
    secret.write_text(yaml.safe_dump(secret_with_data()))
    url = f"http://127.0.0.1:{port}"
    try:
        podman.output("podman", "secret", "create", "worker-vllm", str(secret))
        podman.output("podman", "kube", "play", str(file), timeout_s=300)
        until(lambda: send(f"{url}/health/ready")[0] == 200, 120)
        assert send(f"{url}/health/live")[0] == 200
        names = podman.output("podman", "ps", "--format", "{{.Names}}").split()
        (name,) = [each for each in names if each.startswith("worker-vllm") and "infra" not in each]
        assert podman.output("podman", "exec", name, "id", "-u") == "1000"
        asked = {**chat("Hello"), "model": MODEL}
        assert send(f"{url}/v1/chat/completions", asked)[0] == 401
        key = podman.output("podman", "exec", name, "cat", "/run/worker-vllm/keys").splitlines()[0]
        assert send(f"{url}/v1/chat/completions", asked, key=key)[0] == 200
        started = time.monotonic()
        podman.output("podman", "stop", name, timeout_s=150)
        assert podman.inspect("container", name)["State"]["ExitCode"] == 0
        figure(f"stopped with 0 after {time.monotonic() - started:.1f} s")
    finally:
        podman.call("podman", "kube", "down", str(file), timeout_s=300)
        for kind, name in (("volume", "worker-vllm-models"), ("volume", "keys"), ("secret", "worker-vllm")):
            podman.call("podman", kind, "rm", *(["--force"] if kind == "volume" else []), name)


def secret_with_data() -> dict[str, Any]:
    """The manifest's secret with its texts in base64, the one form that podman 4.3 reads."""
    (path,) = [each for each in KUBERNETES if each.name == "worker.yaml"]
    (secret,) = [document for document in documents(path) if document["kind"] == "Secret"]
    texts = secret.pop("stringData")
    return {**secret, "data": {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}}
