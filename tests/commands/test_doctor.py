"""`worker-vllm doctor`: what it finds, what it starts, what it never shows."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COMMAND = [
    sys.executable,
    "-c",
    "import sys; from worker_vllm.cli import main; sys.exit(main(['doctor', *sys.argv[1:]]))",
]
CANARY = "hf_CANARYdoctor"


def doctor(*arguments: str, **environment: str) -> tuple[int, str]:
    """Exit status and everything it printed."""
    inherited = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/root"), "HF_TOKEN": CANARY}
    done = subprocess.run(
        [*COMMAND, *arguments],
        check=False,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=9,
    )
    assert CANARY not in done.stdout + done.stderr
    return done.returncode, done.stdout


def test_a_sound_engine_is_started_and_stopped() -> None:
    """The machine, the settings, the start with its phases; status 0."""
    status, text = doctor(ENGINE="echo", MODEL_NAME="org/model", MAX_NUM_SEQS="4")
    assert status == 0
    for line in ("machine", "settings", "preflight", "start"):
        assert f"{line}\n" in text
    assert "  arguments      --max-num-seqs 4\n" in text
    assert "  state          ready after " in text
    assert "warm-up /v1/completions" in text
    assert text.rstrip().endswith("s, nothing left")


@pytest.mark.parametrize(
    ("environment", "status", "says"),
    [
        ({"MODEL_NAME": "/no/such/model"}, 1, 'MODEL_NAME="/no/such/model": expected a path that exists'),
        ({"MODEL_NAME": "org/m", "MAX_MODEL_LEN": "8k tokens"}, 78, 'MAX_MODEL_LEN="8k tokens"'),
        (
            {"ENGINE": "echo", "ECHO_START_LOG": "error: unrecognized arguments: --zip", "ECHO_START_EXIT": "2"},
            1,
            "--zip",
        ),
    ],
    ids=["preflight", "settings", "engine"],
)
def test_a_fault_is_told_and_the_status_says_so(environment: dict[str, str], status: int, says: str) -> None:
    """1 for what cannot start, 78 for settings that contradict themselves."""
    found, text = doctor(**environment)
    assert found == status
    assert says in text


def test_without_a_start_nothing_is_started() -> None:
    """Only looked at."""
    status, text = doctor("--no-start", ENGINE="echo", MODEL_NAME="org/model")
    assert (status, "start\n" in text) == (0, False)
