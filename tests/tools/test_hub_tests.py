"""Every case of `.runpod/tests.json` passes against a gateway with a worker behind it; no endpoint fails them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "tools.hub_tests", "--root", str(ROOT)]
NAMES = [case["name"] for case in json.loads((ROOT / ".runpod" / "tests.json").read_text())["tests"]]


def hub_tests(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *options], check=False, capture_output=True, text=True, timeout=120, cwd=ROOT)


def passed() -> str:
    cases = "".join(f"ok    {name}\n" for name in NAMES)
    return f"{cases}{len(NAMES)} of {len(NAMES)} cases answered correctly\n"


def test_every_case_is_answered_in_shape(echo_stack: Stack) -> None:
    """Native and OpenAI, streamed and not, through gateway and worker."""
    done = hub_tests("--url", echo_stack.url)
    assert (done.stdout, done.returncode) == (passed(), 0)


@pytest.mark.vllm
def test_every_case_is_answered_in_shape_by_the_real_engine(real_stack: Stack) -> None:
    """The same with vLLM."""
    done = hub_tests("--url", real_stack.url)
    assert (done.stdout, done.returncode) == (passed(), 0)


def test_an_endpoint_that_is_not_there_fails_every_case() -> None:
    """Each with the address and the reason."""
    done = hub_tests("--url", "http://127.0.0.1:9/v2/none")
    assert done.returncode == 1
    assert done.stdout.count("no answer from http://127.0.0.1:9/v2/none") == len(NAMES)
