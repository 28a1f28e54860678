"""`config translate`: nothing changes its meaning on the way, what is lost is named, secrets are never printed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.settings.translation.samples import MODEL, samples
from worker_vllm.cli import main
from worker_vllm.settings.env_file import read_env_file
from worker_vllm.settings.flags.flag_table import flag_table, known_versions, marks
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import build_draft
from worker_vllm.settings.translation import written_form
from worker_vllm.settings.translation.container_command import read_command, split_words
from worker_vllm.settings.translation.translate import Form, Translation, from_command, from_variables
from worker_vllm.settings.translation.variables import engine_flags

CANARY = "canary-3b1f9e77"
FACTS = HostFacts()


def command_of(found: Translation) -> list[str]:
    """The words of a translation to `vllm serve`, with its variables before them."""
    return [*(f"{name}={text}" for name, text in found.variables.items()), *found.command]


def ours(words: str) -> Translation:
    return from_command(read_command(split_words(words)), Form.OURS, FACTS)


@pytest.mark.parametrize("version", known_versions())
def test_every_flag_survives_both_round_trips(version: str) -> None:
    """Ours → serve → ours and ours → original → ours give the same variables, and serve the same command again."""
    table, facts = flag_table(version), HostFacts(vllm=version)
    arguments = samples(table)
    # Both are read into other settings: the interval of a log line, the names for clients.
    assert set(table.flags) - set(arguments) - set(marks().owned) == {"DISABLE_LOG_STATS", "SERVED_MODEL_NAME"}
    changed = {}
    for name, text in arguments.items():
        first = from_variables({**MODEL, "VLLM_EXTRA_ARGS": text}, Form.OURS, facts)
        serve = from_variables(first.variables, Form.SERVE, facts)
        again = from_command(read_command(command_of(serve)), Form.OURS, facts)
        twice = from_variables(again.variables, Form.SERVE, facts)
        original = from_variables(first.variables, Form.ORIGINAL, facts)
        back = from_variables(original.variables, Form.OURS, facts)
        if (again.variables, twice.command, back.variables) != (first.variables, serve.command, first.variables):
            changed[name] = (first.variables, again.variables, back.variables)
    assert changed == {}


@pytest.mark.parametrize("version", known_versions())
def test_the_env_file_has_the_same_meaning_and_is_accepted(version: str) -> None:
    """Each flag's file, read again, sets the same flags to the same values, without a problem."""
    table, facts = flag_table(version), HostFacts(vllm=version)
    for name, text in samples(table).items():
        found = from_command(read_command(["vllm", "serve", "org/model", *shlex.split(text)]), Form.OURS, facts)
        draft = build_draft(read_env_file(written_form.env_file(found), {}), facts)
        asked = build_draft({**MODEL, "VLLM_EXTRA_ARGS": text}, facts)
        assert (name, draft.problems, engine_flags(draft)) == (name, [], engine_flags(asked))


COMMANDS: list[tuple[str, str, dict[str, str], tuple[str, ...], list[str]]] = [
    (
        "a plain command",
        "vllm serve org/m --max-model-len 8k -tp 2 --no-enable-prefix-caching",
        {"MODEL_NAME": "org/m", "ENABLE_PREFIX_CACHING": "0", "MAX_MODEL_LEN": "8000", "TENSOR_PARALLEL_SIZE": "2"},
        (),
        [],
    ),
    (
        "several lines, the model last, names for clients",
        "vllm serve \\\n  --served-model-name a b \\\n  --enforce-eager org/m",
        {"MODEL_NAME": "org/m", "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "a,b", "ENFORCE_EAGER": "1"},
        (),
        [],
    ),
    (
        "docker",
        "sudo docker run --rm -it --gpus all -v ~/.cache:/root --env HF_TOKEN=$HF_TOKEN -e VLLM_USE_X=1 "
        "-e VLLM_LOGGING_LEVEL=DEBUG -p 8000:8000 vllm/vllm-openai:v0.32.0 --model org/m --dtype half --port 8000",
        {"MODEL_NAME": "org/m", "DTYPE": "half", "VLLM_LOGGING_LEVEL": "DEBUG"},
        ("HF_TOKEN",),
        [
            "options of the container, set them on the endpoint: --gpus, -v, -p",
            "VLLM_USE_X: vLLM does not read this variable; it is left out",
            "--port: left out; " + marks().owned["PORT"],
        ],
    ),
    (
        "the server's module",
        "python3 -m vllm.entrypoints.openai.api_server --model org/m --seed=7",
        {"MODEL_NAME": "org/m", "SEED": "7"},
        (),
        [],
    ),
    ("a compose file's array", '["--model", "org/m", "--seed", "7"]', {"MODEL_NAME": "org/m", "SEED": "7"}, (), []),
    (
        "what does not exist any more",
        "vllm serve org/m --swap-space 4 --disable-log-stats",
        {"MODEL_NAME": "org/m", "DISABLE_LOG_STATS": "1"},
        (),
        ["--swap-space: vLLM 0.32.0 has no such flag; it is left out"],
    ),
    (
        "secrets",
        f"vllm serve org/m --api-key {CANARY} --hf-token={CANARY}",
        {"MODEL_NAME": "org/m"},
        ("VLLM_API_KEY", "HF_TOKEN"),
        [
            f"{flag}: put the secret into the variable {name}; it is never on a command line"
            for flag, name in (("--api-key", "VLLM_API_KEY"), ("--hf-token", "HF_TOKEN"))
        ],
    ),
]


@pytest.mark.parametrize(
    ("text", "variables", "secrets", "notes"), [row[1:] for row in COMMANDS], ids=[row[0] for row in COMMANDS]
)
def test_a_pasted_command_becomes_variables(
    text: str, variables: dict[str, str], secrets: tuple[str, ...], notes: list[str]
) -> None:
    """Whatever way it is started; what has no counterpart is named."""
    found = ours(text)
    assert (found.variables, found.secrets, found.command) == (variables, secrets, ())
    assert [note.partition("; did you mean")[0] for note in found.notes] == notes


def test_the_original_s_variables_become_a_command_and_todays_names() -> None:
    """Old names are translated; the worker's own settings are named as lost where nothing stands for them."""
    env = {
        "MODEL_NAME": "org/m",
        "MAX_MODEL_LEN": "4096",
        "TRUST_REMOTE_CODE": "true",
        "SPECULATIVE_MODEL": "[ngram]",
        "NUM_SPECULATIVE_TOKENS": "3",
        "NGRAM_PROMPT_LOOKUP_MAX": "4",
        "LIMIT_MM_PER_PROMPT": "image=1,video=0",
        "TASK": "embed",
        "SWAP_SPACE": "8",
        "MAX_CONCURRENCY": "30",
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "short",
        "HF_TOKEN": CANARY,
    }
    speculative = '{"num_speculative_tokens":3,"method":"ngram","prompt_lookup_max":4}'
    today = from_variables(env, Form.OURS, FACTS)
    assert today.variables == {
        "MODEL_NAME": "org/m",
        "MAX_CONCURRENCY": "30",
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "short",
        "CONVERT": "embed",
        "LIMIT_MM_PER_PROMPT": '{"image":1,"video":0}',
        "MAX_MODEL_LEN": "4096",
        "RUNNER": "pooling",
        "SPECULATIVE_CONFIG": speculative,
        "TRUST_REMOTE_CODE": "1",
    }
    assert today.secrets == ("HF_TOKEN",)
    serve = from_variables(env, Form.SERVE, FACTS)
    assert serve.command == (
        *("vllm", "serve", "org/m", "--convert", "embed", "--limit-mm-per-prompt", '{"image":1,"video":0}'),
        *("--max-model-len", "4096", "--runner", "pooling", "--speculative-config", speculative),
        *("--trust-remote-code", "--served-model-name", "short", "org/m"),
    )
    assert "MAX_CONCURRENCY: only the worker has it; vllm serve has no counterpart" in serve.notes
    assert any(note.startswith("SWAP_SPACE: left out; ") for note in serve.notes)
    original = from_variables({**today.variables, "FAST_START": "1"}, Form.ORIGINAL, FACTS)
    assert original.variables["TRUST_REMOTE_CODE"] == "true"
    assert "FAST_START: the original has no such variable; it is left out" in original.notes
    assert from_variables(original.variables, Form.OURS, FACTS).variables == today.variables


SECRETS = {
    "MODEL_NAME": "org/m",
    "HF_TOKEN": CANARY,
    "VLLM_API_KEY": CANARY,
    "OTLP_TRACES_ENDPOINT": f"http://user:{CANARY}@collector:4317",
    "HF_OVERRIDES": f'{{"api_token": "{CANARY}"}}',
    "VLLM_EXTRA_ARGS": f'--additional-config \'{{"secret": "{CANARY}"}}\'',
}


@pytest.mark.parametrize("to", Form)
@pytest.mark.parametrize("render", [written_form.env_file, written_form.shell, written_form.as_json])
def test_no_form_contains_a_secret(to: Form, render: object) -> None:
    """Neither one in a variable of its own, nor one inside a URL or an object; the variable is named instead."""
    assert callable(render)
    text = render(from_variables(SECRETS, to, FACTS))
    assert CANARY not in text
    assert "HF_TOKEN" in text
    pasted = f"docker run -e HF_TOKEN={CANARY} vllm/vllm-openai org/m --api-key {CANARY} {CANARY} --x {CANARY}"
    assert CANARY not in render(from_command(read_command(split_words(pasted)), to, FACTS))


def test_the_command_prints_each_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An env file that `config check` accepts, a shell command, JSON; a command is no env file."""
    words = ["--", "vllm", "serve", "org/m", "--max-model-len", "8k", "--port", "1"]
    assert main(["config", "translate", *words]) == 0
    path = tmp_path / "endpoint.env"
    path.write_text(capsys.readouterr().out)
    assert main(["config", "check", "--env-file", str(path)]) == 0
    assert capsys.readouterr().out == "✓ org/m as org/m; no tools; context: 8000\n"
    assert main(["config", "translate", "--to", "serve", "--env-file", str(path)]) == 0
    assert capsys.readouterr().out == "vllm serve org/m --max-model-len 8000\n"
    assert main(["config", "translate", "--format", "shell", *words]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "MODEL_NAME=org/m MAX_MODEL_LEN=8000 worker-vllm start"
    assert main(["config", "translate", "--format", "json", *words]) == 0
    assert json.loads(capsys.readouterr().out)["variables"] == {"MODEL_NAME": "org/m", "MAX_MODEL_LEN": "8000"}
    assert main(["config", "translate", "--to", "serve", "--format", "env", "--env-file", str(path)]) == 2
    assert "a command is no env file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["vllm", "bench"], 2, "expected vllm serve"),
        (["python", "app.py"], 2, "expected vLLM's server"),
        (["docker", "ps"], 2, "expected a command that runs a container"),
        (["vllm", "serve", "m/m", "--max-model-len", "long"], 78, "expected a whole number, or 8k, 8K, auto"),
    ],
)
def test_what_cannot_be_translated_is_refused(
    words: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what was expected."""
    assert main(["config", "translate", "--", *words]) == status
    assert message in capsys.readouterr().err
