"""Every program in examples/ runs unchanged against the local endpoint and prints what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT
from tests.support.processes import running
from tests.support.stack import LOCAL, Stack, serve_echo

pytestmark = pytest.mark.timeout(60)

EXAMPLES = ROOT / "examples"
PROMISED = {
    "chat.py": "Hello from Python\n",
    "stream.py": "Hello from a stream\n22 tokens in, 20 out\n",
    "embeddings.py": "Where is Oslo?\n",
    "native_job.py": "Hello from a job\n",
    "many.py": "50 answers; the last: question 49\n",
    "chat.sh": '"content":"Hello from a shell"',
    "stream.sh": "data: [DONE]",
}
# What the engine's grammar decides is asked of the real one.
PROMISED_BY_VLLM = {"tools.py": "get_weather ['city']\n", "structured.py": "['age', 'name']\n"}
# The JavaScript examples need the `openai` package of npm; tests/clients runs its flows where Node.js is installed.
BY_NODE = {"chat.mjs", "stream.mjs"}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Gateway, worker and echo engine."""
    with serve_echo() as up:
        yield up


@pytest.fixture(scope="module")
def tool_stack() -> Iterator[Stack]:
    """Gateway, worker and vLLM with a parser of tool calls, started by the worker."""
    variables = {"TOOL_CALL_PARSER": "hermes", "ENABLE_AUTO_TOOL_CHOICE": "1", "DRAIN_TIMEOUT": "2"}
    with running([*LOCAL, "--ephemeral"], variables) as process:
        url = process.line("Ready: ", timeout_s=200).split("Ready: ")[1].strip()
        yield Stack(url, "", process, "parrot")


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_an_example_prints_what_it_promises(stack: Stack, name: str) -> None:
    assert PROMISED[name] in printed(stack, name)


@pytest.mark.vllm
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", sorted(PROMISED_BY_VLLM))
def test_an_example_prints_what_it_promises_on_vllm(tool_stack: Stack, name: str) -> None:
    assert PROMISED_BY_VLLM[name] in printed(tool_stack, name)


def printed(stack: Stack, name: str) -> str:
    """The output of an example that ran without an error."""
    command = [sys.executable] if name.endswith(".py") else ["bash"]
    environment = {**os.environ, "OPENAI_BASE_URL": stack.openai_url, "OPENAI_API_KEY": "none"}
    ran = subprocess.run(
        [*command, str(EXAMPLES / name)], env=environment, capture_output=True, text=True, check=False, timeout=50
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def test_every_example_is_run() -> None:
    """A new example is in the table above and in the folder's page."""
    programs = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".sh", ".mjs"}}
    assert programs == {*PROMISED, *PROMISED_BY_VLLM, *BY_NODE}
    assert {name for name in programs if f"`{name}`" not in (EXAMPLES / "README.md").read_text()} == set()
