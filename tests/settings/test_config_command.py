"""`worker-vllm config`: what it prints, its exit status, and that it stays light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import PARROT
from worker_vllm.cli import main
from worker_vllm.commands.config import printable
from worker_vllm.settings.catalog.catalog import catalog
from worker_vllm.settings.flags.flag_table import flag_table, marks
from worker_vllm.settings.load import load
from worker_vllm.settings.types import Mode

CANARY = "canary-7f3a9c"
INVALID = "MAX_MODEL_LEN=8k tokens\nGPU_MEM_UTIL=0.5\nexport ENFORCE_EAGER='maybe'\n# a comment\n\nSEED=1\n"


@pytest.fixture
def config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run `config WHAT` on a file of variables: exit status and what was printed."""

    def run(what: str, text: str, *options: str) -> tuple[int, str]:
        path = tmp_path / "settings.env"
        path.write_text(text)
        status = main(["config", what, "--env-file", str(path), *options])
        return status, capsys.readouterr().out

    return run


def test_check_prints_every_problem_and_exits_78(config: Any) -> None:
    """Key, value, expectation and the change to make, one line each."""
    status, out = config("check", INVALID)
    assert status == 78
    assert sorted(out.splitlines()) == [
        'ENFORCE_EAGER="maybe": expected a yes or no: 1/0, true/false, yes/no, on/off; write 1 or 0',
        'GPU_MEM_UTIL="0.5": expected a known variable; GPU_MEMORY_UTILIZATION is one; '
        "rename it to GPU_MEMORY_UTILIZATION, or set IGNORE_ENV=GPU_MEM_UTIL if it belongs to another program",
        'MAX_MODEL_LEN="8k tokens": expected a whole number, or 8k, 8K, auto; write for example 8192 or 8k',
        "warning: MODEL_NAME is not set: the documented default facebook/opt-125m is served",
        "✗ these settings cannot be served: 3 problems",
    ]
    assert out.startswith("✗")


def test_check_for_machines(config: Any) -> None:
    """The same as one JSON object."""
    status, out = config("check", "DTYPE=fp7\nMODEL_NAME=org/m\n", "--json")
    assert status == 78
    choices = "auto, bfloat16, float, float16, float32, half"
    problem = {"key": "DTYPE", "value": "fp7", "expected": f"one of {choices}", "change": "choose one of them"}
    assert json.loads(out) == {"ok": False, "problems": [problem], "warnings": [], "serves": None}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("MODEL_NAME=org/m", "✓ org/m as org/m; no tools; context: the model's own"),
        ("MODEL_NAME=org/m\nMAX_MODEL_LEN=8k", "✓ org/m as org/m; no tools; context: 8000"),
        ("MODEL_NAME=org/m\nMAX_MODEL_LEN=auto", "✓ org/m as org/m; no tools; context: what fits the GPU"),
        (
            "MODEL_NAME=org/m\nENABLE_AUTO_TOOL_CHOICE=1\nTOOL_CALL_PARSER=hermes\nSERVED_MODEL_NAME=a",
            "✓ org/m as a, org/m; tools: hermes; context: the model's own",
        ),
        (f"MODEL_NAME={PARROT}", f"✓ {PARROT} as parrot; no tools; context: 131072"),
        ("MODEL_NAME=org/m\nENGINE=echo", "✓ org/m (echo engine) as org/m; no tools; context: the model's own"),
        ("ENGINE_URL=http://u:secret7@h:80", "✓ attaches to http://u:***@h:80"),
    ],
)
def test_check_of_valid_settings_prints_what_will_be_served(config: Any, text: str, line: str) -> None:
    """One line: a mark, the model, its names, tools, context; and 0."""
    assert config("check", text) == (0, f"{line}\n")


def test_check_prints_what_will_be_served_as_json(config: Any) -> None:
    """The same as an object."""
    _, out = config("check", "MODEL_NAME=org/m\n", "--json")
    served = {"engine": "vllm", "model": "org/m", "names": ["org/m"], "tools": None, "context": "the model's own"}
    assert json.loads(out)["serves"] == served


@pytest.mark.parametrize(("encoding", "mark"), [("utf-8", "✓"), ("ascii", "ok:"), ("latin-1", "ok:"), (None, "✓")])
def test_the_mark_is_a_word_where_the_terminal_cannot_show_it(encoding: str | None, mark: str) -> None:
    """And no text ends the command with an encoding error."""
    assert printable("✓ a", encoding) == f"{mark} a"
    assert printable("é→", "ascii") == "??"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("DTYPE=bfloat1", 'DTYPE="bfloat1": did you mean bfloat16?; expected one of auto, '),
        ("TOOL_CALL_PARSER=hermess", 'TOOL_CALL_PARSER="hermess": write hermes; expected one of apertus, '),
        (
            'COMPILATION_CONFIG={"modee": 3}',
            'COMPILATION_CONFIG="{"modee": 3}": rename or remove \'modee\'; '
            "did you mean 'mode'?; expected an object with keys among",
        ),
        ("ENGINE=ecco", 'ENGINE="ecco": did you mean echo?; expected one of vllm, echo'),
        (
            "GPU_MEMORY_UTILIZATION=92",
            'GPU_MEMORY_UTILIZATION="92": expected a number, above 0, at most 1; did you mean 0.92?',
        ),
        (
            "GPU_MEMORY_UTILIZATION=92%",
            'GPU_MEMORY_UTILIZATION="92%": expected a number, above 0, at most 1; did you mean 0.92?',
        ),
        (
            "GPU_MEMORY_UTILIZATION=920",
            'GPU_MEMORY_UTILIZATION="920": expected a number, above 0, at most 1; choose a value in that range',
        ),
    ],
)
def test_the_change_to_make_comes_before_a_list_of_choices(config: Any, text: str, line: str) -> None:
    """After a list of sixty parsers it would be overlooked."""
    _, out = config("check", f"MODEL_NAME=org/m\n{text}\n")
    assert out.splitlines()[1].startswith(line)


@pytest.mark.parametrize(
    ("text", "status", "line"),
    [
        (
            "CUSTOM_CHAT_TEMPLATE={% fro x in y %}",
            78,
            'CUSTOM_CHAT_TEMPLATE="{% fro x in y %}": expected a Jinja template; line 1: Encountered unknown tag '
            "'fro'.",
        ),
        ("CUSTOM_CHAT_TEMPLATE={{ messages }}", 0, ""),
        ("CUSTOM_CHAT_TEMPLATE={% fro x in y %}\nENGINE_URL=http://engine:8000", 0, ""),
    ],
    ids=["syntax error", "valid", "not used by an attached engine"],
)
def test_check_reads_the_chat_template(config: Any, text: str, status: int, line: str) -> None:
    """As the preflight does before an engine starts."""
    pytest.importorskip("jinja2", reason="Jinja comes with the engine")
    got, out = config("check", f"MODEL_NAME=org/m\n{text}\n")
    assert got == status, out
    assert line in out


def test_the_value_of_a_secret_in_a_template_is_not_quoted(config: Any) -> None:
    """The problem quotes the template's line, without the secrets of other variables."""
    pytest.importorskip("jinja2", reason="Jinja comes with the engine")
    text = f"MODEL_NAME=org/m\nHF_TOKEN={CANARY}\nCUSTOM_CHAT_TEMPLATE={{% fro {CANARY} %}}\n"
    for options in ((), ("--json",)):
        status, out = config("check", text, *options)
        assert (status, CANARY in out, "{% fro *** %}" in out) == (78, False, True)


def test_a_file_that_is_no_env_file_is_refused_line_by_line(config: Any) -> None:
    """A line without a name is an error, not skipped."""
    status, out = config("check", "just words\n=x\nA=1\n")
    assert status == 78
    assert [line.split('"')[0] for line in out.splitlines()] == ["line 1=", "line 2="]


def test_show_prints_values_sources_and_the_engine_command(config: Any) -> None:
    """With the command that would be run, ready to be read by a shell."""
    text = "MODEL_NAME=org/m\nMAX_MODEL_LEN=8k\nHOST=laptop\nVLLM_EXTRA_ARGS=--seed 3\nTOKENIZER_MODE=slow\n"
    status, out = config("show", text)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert status == 0
    for line in (
        "MODEL_NAME org/m (environment)",
        "MAX_MODEL_LEN 8000 (environment)",
        "SEED 3 (VLLM_EXTRA_ARGS)",
        "TOKENIZER_MODE hf (environment)",
        "HOST laptop (left alone)",
        "mode: local",
        "✓ org/m as org/m; no tools; context: 8000",
        "warning: TOKENIZER_MODE=slow is read as hf: vLLM removed slow tokenizers",
    ):
        assert line in lines
    assert lines[0] == "MODEL_NAME org/m (environment)"
    assert [line for line in lines if "default)" in line] == []
    command = next(line for line in lines if line.startswith("engine: "))
    expected = (
        "vllm serve org/m --uds SOCKET --served-model-name org/m --max-model-len 8000 --seed 3 --tokenizer-mode hf"
    )
    assert expected in command


def test_show_all_prints_every_known_name_once_those_that_are_set_first(config: Any) -> None:
    """The catalogue's and every flag's; a mode that is not set is a default."""
    _, out = config("show", "MODEL_NAME=org/m\nTENSOR_PARALLEL_SIZE=1\n", "--all")
    rows = out.split("\n\n")[0].splitlines()
    names = [row.split()[0] for row in rows]
    targets = {setting.target for setting in catalog().values()}
    assert sorted(names) == sorted({*catalog(), *(set(flag_table().flags) - set(marks().owned) - targets)})
    assert [row.split() for row in rows[:2]] == [
        ["MODEL_NAME", "org/m", "(environment)"],
        ["TENSOR_PARALLEL_SIZE", "1", "(environment)"],
    ]
    shown = {row.split()[0]: " ".join(row.split()[1:]) for row in rows}
    assert shown["WORKER_MODE"] == "local (default)"
    assert shown["DTYPE"] == "auto (vLLM's default)"
    assert shown["MAX_CONCURRENCY"] == "300 (default)"
    assert shown["BLOCK_SIZE"] == "(not set)"


@pytest.mark.parametrize(
    ("env", "row"),
    [
        ({}, (Mode.LOCAL, "default")),
        ({"WORKER_MODE": "local"}, (Mode.LOCAL, "environment")),
        ({"PORT": "80"}, (Mode.HTTP, "environment (PORT)")),
    ],
)
def test_the_mode_is_shown_with_the_variable_that_chose_it(env: dict[str, str], row: tuple[Mode, str]) -> None:
    """WORKER_MODE only where it is set."""
    found = {origin.name: (origin.value, origin.source) for origin in load(env).origins}
    assert found["WORKER_MODE"] == row


def test_no_secret_is_ever_shown(config: Any) -> None:
    """A canary in every secret-typed variable: not in show, not in check, not in a problem about it."""
    from worker_vllm.settings.catalog.catalog import Kind, catalog

    secrets = [setting.name for setting in catalog().values() if setting.kind is Kind.SECRET]
    text = "".join(f"{name}={CANARY}\n" for name in secrets) + "MAX_MODEL_LEN=wrong\n"
    for options in ((), ("--json",)):
        for what in ("show", "check"):
            status, out = config(what, text, *options)
            assert status == 78
            assert CANARY not in out
    assert "***" in config("show", text)[1]


@pytest.mark.parametrize("flag", ["--api-key", "--hf-token"])
def test_a_secret_on_a_command_line_is_refused_without_being_repeated(config: Any, flag: str) -> None:
    """The refusal of such a VLLM_EXTRA_ARGS names the flag alone."""
    for option in (f"{flag} {CANARY}", f"{flag}={CANARY}"):
        for what in ("check", "show"):
            status, out = config(what, f"VLLM_EXTRA_ARGS={option}\n")
            assert status == 78
            assert flag in out
            assert CANARY not in out


def test_config_imports_neither_vllm_nor_anything_heavy() -> None:
    """It runs wherever the worker is installed, at once."""
    probe = (
        "import sys; from worker_vllm.cli import main\n"
        "main(['config', 'check', '--json']); main(['config', 'show', '--json'])\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & "
        "{'aiohttp', 'pydantic', 'fastapi', 'rich', 'vllm', 'torch', 'yaml', 'jinja2', 'huggingface_hub'}))"
    )
    command = [sys.executable, "-c", probe]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={"PATH": "/bin"}, timeout=20)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("[]", "")
