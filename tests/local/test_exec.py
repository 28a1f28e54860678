"""`worker-vllm gateway exec` and the pytest fixture, as real processes over the echo engine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.processes import running
from worker_vllm.local.exec import client_variables

EXEC = [sys.executable, "-m", "worker_vllm", "gateway", "exec"]
ECHO = [*EXEC, "--engine", "echo", "--"]

pytestmark = pytest.mark.timeout(60)

CLIENT = """
import os, openai
answer = openai.OpenAI().chat.completions.create(
    model=os.environ["WORKER_VLLM_MODEL"], messages=[{"role": "user", "content": "hello"}], max_tokens=20
)
print("answer:", answer.choices[0].message.content)
raise SystemExit(7)
"""


def test_a_client_finds_the_endpoint_by_its_variables_and_its_status_is_returned() -> None:
    """The unchanged OpenAI client, without an argument; everything has ended when the command returns."""
    found = subprocess.run([*ECHO, sys.executable, "-c", CLIENT], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (7, "answer: hello\n"), found.stderr


def test_a_signal_ends_the_command_and_everything_else() -> None:
    """SIGTERM reaches the command; its end is that of the gateway, the worker and the engine."""
    waiting = [sys.executable, "-c", "import os, time; print('up', os.environ['OPENAI_BASE_URL']); time.sleep(60)"]
    with running([*ECHO, *waiting]) as process:
        url = process.line("up http").removeprefix("up ").strip()
        process.signal(signal.SIGTERM)
        assert process.exit_code() == 128 + signal.SIGTERM
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url)


CANNOT: list[tuple[list[str], int, str]] = [
    ([*ECHO, "/nonexistent/command"], 127, "/nonexistent/command: No such file or directory"),
    ([*ECHO, "/etc"], 126, "/etc: Permission denied"),
    ([*EXEC, "--engine", "echo", "--set", "x=1", "--", "true"], 125, 'unknown option "x"'),
    ([*EXEC, "--engine", "echo"], 2, "the following arguments are required: COMMAND"),
]


@pytest.mark.parametrize(("command", "status", "words"), CANNOT, ids=["missing", "no program", "gateway", "usage"])
def test_what_cannot_run_has_a_status_of_its_own(command: list[str], status: int, words: str) -> None:
    """The shell's and `timeout`'s conventions, and the reason in standard error."""
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == status
    assert words in found.stderr


def test_the_variables_follow_from_the_address_and_the_key() -> None:
    """Of a queue's endpoint, and of one behind the load balancer."""
    queue = client_variables("http://127.0.0.1:1/v2/local", "", "m")
    assert queue == {
        "RUNPOD_API_KEY": "local",
        "RUNPOD_ENDPOINT_ID": "local",
        "RUNPOD_ENDPOINT_BASE_URL": "http://127.0.0.1:1/v2",
        "RUNPOD_ENDPOINT_URL": "http://127.0.0.1:1/v2/local",
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v2/local/openai/v1",
        "OPENAI_API_BASE": "http://127.0.0.1:1/v2/local/openai/v1",
        "OPENAI_API_KEY": "local",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:1/v2/local/openai",
        "ANTHROPIC_API_KEY": "local",
        "WORKER_VLLM_MODEL": "m",
    }
    balanced = client_variables("http://127.0.0.1:1/lb/local", "k3y", "m")
    assert balanced["OPENAI_BASE_URL"] == "http://127.0.0.1:1/lb/local/v1"
    assert balanced["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:1/lb/local"
    assert balanced["OPENAI_API_KEY"] == balanced["ANTHROPIC_AUTH_TOKEN"] == "k3y"


USER_TEST = """
import json, pathlib, urllib.request

def test_mine(runpod_endpoint):
    body = json.dumps({"input": {"prompt": "hello"}}).encode()
    request = urllib.request.Request(f"{runpod_endpoint.url}/runsync", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["status"] == "COMPLETED"
    pathlib.Path("seen.json").write_text(json.dumps(runpod_endpoint.environment))

def test_the_same_one(runpod_endpoint):
    assert json.loads(pathlib.Path("seen.json").read_text()) == runpod_endpoint.environment
"""


def test_the_fixture_serves_a_users_tests(tmp_path: Path) -> None:
    """One endpoint for the run, gone after it. The plugin is named here so that its installation does not matter."""
    (tmp_path / "test_user.py").write_text(USER_TEST)
    plugin = ["-p", "no:worker_vllm", "-p", "worker_vllm.local.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", "-q", *plugin, "--rootdir", str(tmp_path), str(tmp_path)]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 passed" in found.stdout, found.stdout + found.stderr
    variables = json.loads((tmp_path / "seen.json").read_text())
    assert variables["OPENAI_BASE_URL"].endswith("/v2/local/openai/v1")


def test_a_run_that_does_not_use_the_fixture_imports_next_to_nothing() -> None:
    """pytest loads the plugin in every run: it must not cost what the gateway costs."""
    heavy = ("starlette", "uvicorn", "aiohttp", "pydantic", "rich", "worker_vllm.gateway", "worker_vllm.settings")
    code = f"import sys, worker_vllm.local.pytest_plugin; print([n for n in {heavy!r} if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
