"""The real CPU engine under container limits that are too small, without the preflight that would refuse them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.diagnosis.record_endings import contained, ending, settings_of
from tests.engine.real.faults import LIMITS, Fault
from worker_vllm.engine.diagnosis.diagnose import EngineExit, diagnose
from worker_vllm.engine.process.child_process import spawn

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.matrix,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a mount namespace stands in for a container"),
]


@pytest.mark.parametrize("fault", LIMITS, ids=lambda fault: fault.name)
def test_the_container_is_named_as_the_cause(fault: Fault, tmp_path: Path) -> None:
    """From the engine's messages, with the option to start the container with."""
    command = contained(fault, "tests.engine.real.test_real_limits", str(tmp_path), "/tmp")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True, timeout=250)
    assert json.loads(done.stdout.splitlines()[-1]) == [fault.cause, "settings"], done.stdout


def inside(name: str, directory: Path) -> None:
    """Start the engine under the limits and print its diagnosis."""
    fault = next(each for each in LIMITS if each.name == name)
    environment = {key: text for key, text in os.environ.items() if not key.startswith("VLLM_")}
    code, lines = asyncio.run(ending(spawn(settings_of(fault, directory), environment)))
    found = diagnose(EngineExit(code, tuple(lines)))
    sys.stdout.write(f"{found.sentence}\n{json.dumps([found.cause, found.scope])}\n")


if __name__ == "__main__":
    inside(sys.argv[2], Path(sys.argv[3]))
