"""Names that resemble a setting are warned of once, with the setting; names of other programs never are."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.support.processes import running
from worker_vllm.cli import main
from worker_vllm.errors import Problem
from worker_vllm.settings.catalog.catalog import names
from worker_vllm.settings.env_file import read_env_file
from worker_vllm.settings.flags.flag_table import flag_table, known_versions
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import build_draft, load
from worker_vllm.settings.resemblance import aliases
from worker_vllm.settings.sources.environment import OURS

HERE = Path(__file__).parent
RECORDED = sorted((HERE / "environments").glob("*.env"))
SLIPS = HERE / "slips"
MODEL = {"MODEL_NAME": "org/model"}
NAMED = re.compile(r"rename it to (\w+),|did you mean (\w+)\?")


def alarms(warnings: list[str] | tuple[str, ...]) -> list[str]:
    """The warnings of variables that are not read."""
    return [line for line in warnings if " is not read" in line]


def named(name: str) -> str | None:
    """The setting that an error or a warning names for this variable."""
    draft = build_draft({**MODEL, name: "1"}, HostFacts())
    messages = [problem.change for problem in draft.problems if isinstance(problem, Problem) and problem.key == name]
    messages += [line for line in draft.warnings if line.startswith(f"{name} ")]
    found = [match for text in messages if (match := NAMED.search(text))]
    return (found[0][1] or found[0][2]) if found else None


# The slips of each list that pass in silence; a slip that is answered with the wrong setting is never among them.
MISSED = {
    "reported": set[str](),
    "plausible": {"START_TIMEOUT"},
    "held-out": {
        *("MODEL_CONTEXT_LENGTH", "MAX_CONTEXT", "MAX_CONTEXT_TOKENS", "N_PARALLEL", "TENSOR_SIZE", "TRUST_CODE"),
        *("GPU_MEMORY_LIMIT", "REASONING_MODE", "WEIGHTS_DTYPE", "VLLM_SERVE_ARGS", "ALLOWED_DOMAINS"),
        "DRAIN_SECONDS",
    },
}


@pytest.mark.parametrize("kind", MISSED)
def test_slips_are_answered_with_the_setting_that_is_meant(kind: str) -> None:
    """All but the named ones, and none with a setting that is not meant."""
    lines = (SLIPS / f"{kind}.txt").read_text().splitlines()
    slips = {line.split()[0]: line.split()[1:] for line in lines if line and not line.startswith("#")}
    answers = {name: named(name) for name in slips}
    assert {name: answer for name, answer in answers.items() if answer and answer not in slips[name]} == {}
    assert {name for name, answer in answers.items() if answer is None} == MISSED[kind]


@pytest.mark.parametrize("version", known_versions())
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_no_warning_in_environments_of_others(path: Path, version: str) -> None:
    """Desktops, CI runners, pods with service links, the platform, the image: with and without a model's name."""
    env = read_env_file(path.read_text(), {})
    assert len(env) > 50
    assert alarms(load({**env, **MODEL}, HostFacts(vllm=version)).warnings) == []
    assert alarms(load(env, HostFacts(vllm=version)).warnings) == []


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (
            {"MAX_LEN": "8k"},
            ["MAX_LEN is not read: did you mean MAX_MODEL_LEN? IGNORE_ENV=MAX_LEN silences this line"],
        ),
        (
            {"MAX_TOTAL_TOKENS": "8k"},
            [
                "MAX_TOTAL_TOKENS is not read (a name of Text Generation Inference): did you mean MAX_MODEL_LEN? "
                "IGNORE_ENV=MAX_TOTAL_TOKENS silences this line"
            ],
        ),
        (
            {"VLLM_STARTUP_TIMEOUT": "1200"},
            [
                "VLLM_STARTUP_TIMEOUT is not read (a name of worker-vllm 2.24): did you mean ENGINE_START_TIMEOUT? "
                "IGNORE_ENV=VLLM_STARTUP_TIMEOUT silences this line"
            ],
        ),
        ({"MAX_LEN": "8k", "IGNORE_ENV": "MAX_LEN"}, []),
        ({"MAX_LEN": "8k", "MAX_MODEL_LEN": "8k"}, []),
        ({"MODEL_PATH": "org/model"}, []),
        ({"HF_API_TOKEN": "secret-one", "HF_TOKEN": "secret-two"}, []),
        (
            {"HF_API_TOKEN": "secret-one"},
            ["HF_API_TOKEN is not read: did you mean HF_TOKEN? IGNORE_ENV=HF_API_TOKEN silences this line"],
        ),
        ({"MAX_MODEL_LEN_SERVICE_HOST": "10.0.0.1", "PREFIX_CACHE_PORT": "tcp://10.0.0.1:80"}, []),
    ],
)
def test_a_warning_names_the_setting_and_never_the_value(env: dict[str, str], expected: list[str]) -> None:
    """One line each; none where it is silenced, or where the setting has the same value or the token is set."""
    assert alarms(load({**MODEL, **env}).warnings) == expected


def test_an_alias_of_another_server_names_a_setting_of_ours() -> None:
    """And is itself no name that the worker or vLLM reads."""
    table = flag_table()
    ours = {*names(), *OURS, *table.flags}
    assert {alias for alias, (_, meant) in aliases().items() if meant not in ours} == set()
    assert set(aliases()) & (set(names()) | set(table.variables)) == set()


@pytest.mark.parametrize("what", ["check", "show"])
def test_config_prints_the_warning(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one line; the settings stay valid."""
    path = tmp_path / "settings.env"
    path.write_text("MODEL_NAME=org/model\nQUANT=awq\n")
    assert main(["config", what, "--env-file", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "QUANT " in line] == [
        "warning: QUANT is not read: did you mean QUANTIZATION? IGNORE_ENV=QUANT silences this line"
    ]


def test_start_logs_the_warning() -> None:
    """Before the engine is up."""
    platform = {
        "RUNPOD_WEBHOOK_GET_JOB": "http://127.0.0.1:9/job-take/$ID",
        "RUNPOD_WEBHOOK_POST_OUTPUT": "http://127.0.0.1:9/job-done/$ID",
    }
    environment = {"ENGINE": "echo", **platform, **MODEL, "QUANT": "awq"}
    with running([sys.executable, "-m", "worker_vllm", "start"], environment) as process:
        line = process.line("QUANT is not read: did you mean QUANTIZATION?")
        assert "WARNING" in line
