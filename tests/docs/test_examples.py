"""Every program in examples/ runs unchanged against the local endpoint and prints what it promises."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.docs.samples import covers
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
BY_NODE = {"chat.mjs": "Hello from JavaScript\n", "stream.mjs": "Hello from a stream\n"}
RECIPES = re.findall(
    r"```json vllm /v1(\S+)\n(.*?)```\n```json answer\n(.*?)```",
    (ROOT / "docs" / "recipes.md").read_text(),
    re.DOTALL,
)
PACKAGES = ROOT / "tests" / "clients" / "js" / "node_modules"


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


@pytest.mark.skipif(shutil.which("node") is None, reason="no node: install it, then make setup")
@pytest.mark.skipif(not PACKAGES.is_dir(), reason="the packages of npm are not there: make setup")
@pytest.mark.parametrize("name", sorted(BY_NODE))
def test_an_example_in_javascript_prints_what_it_promises(stack: Stack, tmp_path: Path, name: str) -> None:
    """Beside a folder with the packages, as after `npm install openai`."""
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    script = str(shutil.copy(EXAMPLES / name, tmp_path))
    assert printed(stack, script) == BY_NODE[name]


@pytest.mark.vllm
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", sorted(PROMISED_BY_VLLM))
def test_an_example_prints_what_it_promises_on_vllm(tool_stack: Stack, name: str) -> None:
    assert PROMISED_BY_VLLM[name] in printed(tool_stack, name)


@pytest.mark.vllm
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("route", "body", "shown"), RECIPES)
def test_a_recipe_is_answered_as_shown_by_vllm(tool_stack: Stack, route: str, body: str, shown: str) -> None:
    """The samples of docs/recipes.md, on the embedded model."""
    answer = httpx.post(f"{tool_stack.openai_url}{route}", json=json.loads(body), timeout=50)
    assert covers(answer.json(), json.loads(shown)), answer.text


def printed(stack: Stack, name: str) -> str:
    """The output of an example that ran without an error."""
    command = {".py": sys.executable, ".sh": "bash", ".mjs": "node"}[Path(name).suffix]
    environment = {**os.environ, "OPENAI_BASE_URL": stack.openai_url, "OPENAI_API_KEY": "none"}
    ran = subprocess.run(
        [command, str(EXAMPLES / name)], env=environment, capture_output=True, text=True, check=False, timeout=50
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def test_every_example_is_run() -> None:
    """A new example is in the table above and in the folder's page."""
    programs = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".sh", ".mjs"}}
    assert programs == {*PROMISED, *PROMISED_BY_VLLM, *BY_NODE}
    assert {name for name in programs if f"`{name}`" not in (EXAMPLES / "README.md").read_text()} == set()
