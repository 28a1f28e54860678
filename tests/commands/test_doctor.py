"""`worker-vllm doctor`: its findings, its test start, and its redaction."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

import worker_vllm
from tests.hub.repositories import MODEL
from tests.hub.server import Repository, serving
from tests.support.stack import echo_process

COMMAND = [
    sys.executable,
    "-c",
    "import sys; from worker_vllm.cli import main; sys.exit(main(['doctor', *sys.argv[1:]]))",
]
CANARY = "hf_CANARYdoctor"


def doctor(*arguments: str, **environment: str) -> tuple[int, str]:
    """The exit status and the output."""
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
    ("environment", "status", "message"),
    [
        ({"MODEL_NAME": "/no/such/model"}, 1, 'MODEL_NAME="/no/such/model": expected a path that exists'),
        ({"MODEL_NAME": "org/m", "MAX_MODEL_LEN": "8k tokens"}, 78, 'MAX_MODEL_LEN="8k tokens"'),
        (
            {"MODEL_NAME": "org/m", "HF_ENDPOINT": "http://127.0.0.1:9", "BASE_PATH": "/nonexistent"},
            1,
            "  problem        org/m could not be fetched from http://127.0.0.1:9: ",
        ),
        (
            {"ENGINE_URL": "http://127.0.0.1:9"},
            1,
            "  problem        the engine at http://127.0.0.1:9 does not answer",
        ),
        (
            {"ENGINE": "echo", "ECHO_START_LOG": "error: unrecognized arguments: --zip", "ECHO_START_EXIT": "2"},
            1,
            "--zip",
        ),
    ],
    ids=["preflight", "settings", "hub", "attached", "engine"],
)
def test_a_fault_is_reported_and_sets_the_status(environment: dict[str, str], status: int, message: str) -> None:
    """1 for an engine that cannot start, 78 for invalid settings."""
    found, text = doctor(**environment)
    assert found == status
    assert message in text


def test_without_a_start_nothing_is_started() -> None:
    """Only checked."""
    status, text = doctor("--no-start", ENGINE="echo", MODEL_NAME="org/model")
    assert (status, "start\n" in text) == (0, False)


def test_a_model_on_the_hub_is_found_when_the_hub_serves_it(tmp_path: Path) -> None:
    """The hub is asked; an invalid token does not matter for a public model."""
    with serving(org__parrot=Repository(MODEL)) as hub:
        places = {"HF_ENDPOINT": hub.address, "BASE_PATH": str(tmp_path), "HOME": str(tmp_path)}
        status, text = doctor("--no-start", MODEL_NAME="org/parrot", **places)
        assert (status, "  on the hub     org/parrot\n" in text) == (0, True)
        status, text = doctor("--no-start", MODEL_NAME="org/other", **places)
        assert (status, "  problem        org/other is not on the hub, or is private" in text) == (1, True)


def test_an_attached_engine_is_asked_for_its_health() -> None:
    """A request to /health, not only a connection."""
    with echo_process() as url:
        status, text = doctor(ENGINE_URL=url)
    assert (status, f"  attached to    {url}: HTTP 200 on /health\n" in text) == (0, True)


@pytest.mark.parametrize("arguments", [("--no-start",), ()])
def test_without_an_engine_the_check_fails(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Status 1, also with --no-start; in an environment with all packages but vLLM."""
    packages = Path(aiohttp.__file__).parents[1]
    for path in packages.iterdir():
        if not path.name.startswith("vllm"):
            (tmp_path / path.name).symlink_to(path)
    source = Path(worker_vllm.__file__).parents[1]
    command = [sys.executable, "-S", "-m", "worker_vllm", "doctor", *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": f"{source}:{tmp_path}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=9, check=False)
    assert (
        f"  problem        vLLM is not installed for {sys.executable}: install it, or set ENGINE_URL\n" in done.stdout
    )
    assert done.returncode == 1


def test_the_settings_of_a_file_take_the_place_of_this_environments(tmp_path: Path) -> None:
    """As with `config`; the variables of the machine are inherited."""
    path = tmp_path / "endpoint.env"
    path.write_text("ENGINE=echo\nMODEL_NAME=org/model\nMAX_NUM_SEQS=4\n")
    status, text = doctor("--env-file", str(path), MAX_MODEL_LEN="nonsense", MODEL_NAME="org/other")
    assert (status, "  arguments      --max-num-seqs 4\n" in text) == (0, True)
    path.write_text("MAX_MODEL_LEN=8k tokens\n")
    assert doctor("--env-file", str(path), ENGINE="echo")[0] == 78
    path.write_bytes(b"\xff")
    assert doctor("--env-file", str(path))[0] == 2
    assert doctor("--env-file", str(tmp_path / "none"))[0] == 2


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_a_time_limit_is_a_time(seconds: str) -> None:
    """Refused by the parser."""
    assert doctor("--timeout", seconds, ENGINE="echo", MODEL_NAME="org/model")[0] == 2
