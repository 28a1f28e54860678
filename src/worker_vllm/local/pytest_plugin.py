"""A pytest fixture: a local RunPod endpoint with a worker and an engine, for the tests of a client.

    def test_my_client(runpod_endpoint):
        client = OpenAI(base_url=runpod_endpoint.openai_base_url, api_key=runpod_endpoint.api_key)

pytest loads this module through its entry point in every run where worker-vllm is installed, so it imports next to
nothing until the fixture is used.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

# The command of `gateway exec`: it shows its variables, and ends with its standard input.
SHOW = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()"


@dataclass(frozen=True)
class RunpodEndpoint:
    """A running endpoint. `environment` has the variables with which clients find it, and only those."""

    url: str
    endpoint_id: str
    api_key: str
    openai_base_url: str
    anthropic_base_url: str
    model: str
    environment: dict[str, str]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options in pytest's configuration file."""
    text = "options of `worker-vllm gateway exec` for the fixture runpod_endpoint"
    parser.addini("worker_vllm_options", text, type="args", default=["--engine", "echo"])


@pytest.fixture(scope="session")
def runpod_endpoint(request: pytest.FixtureRequest) -> Iterator[RunpodEndpoint]:
    """One endpoint for the whole run; by default with the echo engine, see `worker_vllm_options`."""
    options = request.config.getini("worker_vllm_options")
    command = [sys.executable, "-m", "worker_vllm", "gateway", "exec", *options, "--", sys.executable, "-c", SHOW]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            pytest.fail(f"the endpoint did not start (status {process.wait()}); standard error has the reason")
        yield _endpoint(json.loads(line))
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def _endpoint(variables: dict[str, str]) -> RunpodEndpoint:
    names = ("RUNPOD_", "OPENAI_", "ANTHROPIC_", "WORKER_VLLM_")
    return RunpodEndpoint(
        url=variables["RUNPOD_ENDPOINT_URL"],
        endpoint_id=variables["RUNPOD_ENDPOINT_ID"],
        api_key=variables["RUNPOD_API_KEY"],
        openai_base_url=variables["OPENAI_BASE_URL"],
        anthropic_base_url=variables["ANTHROPIC_BASE_URL"],
        model=variables["WORKER_VLLM_MODEL"],
        environment={name: value for name, value in variables.items() if name.startswith(names)},
    )
