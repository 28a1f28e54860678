"""A secret in the wrong variable, and an ordinary value in a secret's: no message quotes either."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker_vllm.cli import main
from worker_vllm.errors import ConfigurationError
from worker_vllm.forms.check import check_form
from worker_vllm.settings.builder import SettingsBuilder
from worker_vllm.settings.catalog.catalog import Kind, catalog
from worker_vllm.settings.env_file import read_env_file
from worker_vllm.settings.flags.flag_table import flag_table
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import build_draft, freeze

CANARY = "canary-7f3a9c"
TOKEN = "hf_canaryAbCdEfGhIjKlMnOpQrStUv"  # secret by its format, not by its name
SECRETS = [setting.name for setting in catalog().values() if setting.kind is Kind.SECRET]
ORDINARY = [setting.name for setting in catalog().values() if setting.kind is not Kind.SECRET]
INHERITED = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
MISNAMED = ["HUGGINGFACE_HUB_TOKEN", "HF_TOKENS", "hf_token", "RUNPOD_APIKEY", "VLLM_HF_TOKEN", "GATEWAY-API-KEY"]


def typos(name: str) -> set[str]:
    """A letter left out, two swapped, one doubled, another case."""
    places = range(len(name))
    found = {name[:at] + name[at + 1 :] for at in places} | {name[:at] + name[at] + name[at:] for at in places}
    found |= {name[:at] + name[at + 1] + name[at] + name[at + 2 :] for at in places[:-1]}
    return (found | {name.lower(), name.replace("_", ""), name + "S"}) - set(catalog()) - set(flag_table().flags)


TYPOS = sorted({*MISNAMED, *(typo for name in SECRETS for typo in typos(name))} - {""})
EXTRA_ARGS = [
    CANARY,
    f"--api-key {CANARY}",
    f"--api-key={CANARY}",
    f"--hf-token {CANARY}",
    f"--apikey {CANARY}",
    f"--apikey={CANARY}",
    f"--{CANARY}",
    f"-p{CANARY}",
    f"--seed {CANARY}",
    f"--seed 1 {CANARY}",
    f"--dtype {CANARY}",
    f"--dtype '{CANARY}",
    f"--enforce-eager {CANARY}",
    f"--tool-call-parser {CANARY}",
    f"--quantization {CANARY}",
    f"--max-model-len={CANARY}",
    f"--logits-processors -{CANARY}",
    f"--chat-template /{CANARY}",
    f"--lora-modules {CANARY}",
    f"--load-format {CANARY} --enable-auto-tool-choice",
    f"--hf-overrides.{CANARY} 1 2",
    f"--kv-transfer-config {CANARY}",
    f"""--kv-transfer-config '{{"{CANARY}": 1}}'""",
    f"""--kv-transfer-config '{{"kv_role": "{CANARY}"}}'""",
    f"""--model-loader-extra-config '{{"aws_secret": "{CANARY}"}}'""",
    f"{TOKEN} --seed {TOKEN}",
]


def shown_lines(draft: SettingsBuilder) -> str:
    """Every line that is shown of a draft, its settings included."""
    problems = [str(problem) for problem in draft.problems]
    rows = [f"{row.name} {row.value} {row.source}" for row in freeze(draft).origins]
    return "\n".join([*problems, *draft.warnings, *rows])


def leaks(env: dict[str, str], *needles: str) -> list[str]:
    """The lines in which one of the needles stands, with the settings' own problems and warnings."""
    return [
        line
        for line in shown_lines(build_draft(env, HostFacts())).splitlines()
        if any(needle in line for needle in needles)
    ]


def test_a_secret_under_a_mistyped_name_is_not_quoted() -> None:
    """By its own name, or by the name that it misspells."""
    assert len(TYPOS) > 200
    assert leaks(dict.fromkeys(TYPOS, CANARY), CANARY) == []


@pytest.mark.parametrize("name", ORDINARY)
def test_a_token_in_an_ordinary_variable_is_not_quoted(name: str) -> None:
    """In none of the catalogue's variables, under its own name, behind vLLM's prefix, or with a letter left out."""
    for written in (name, f"VLLM_{name}", name[:-1], name.lower()):
        assert leaks({"MODEL_NAME": "org/m", written: TOKEN}, TOKEN) == [], written
        assert leaks({"MODEL_NAME": "org/m", written: f"it is {TOKEN}"}, TOKEN) == [], written


def test_a_token_as_the_models_name_is_refused() -> None:
    """It would be the name that every caller sees."""
    draft = build_draft({"MODEL_NAME": TOKEN}, HostFacts())
    assert [(problem.key, problem.value) for problem in draft.problems] == [("MODEL_NAME", "***")]


def test_an_ordinary_value_under_a_secrets_name_is_hidden() -> None:
    """The worker cannot know that the value is harmless."""
    for value in ("org/some-model", "ordinary-value-8192"):
        assert leaks(dict.fromkeys([*SECRETS, *TYPOS], value), value) == []


@pytest.mark.parametrize("text", EXTRA_ARGS)
def test_extra_arguments_are_never_quoted_whole(text: str) -> None:
    """Problems name the option, and where it stands; values stay out."""
    draft = build_draft({"MODEL_NAME": "org/m", "VLLM_EXTRA_ARGS": text}, HostFacts(exists=lambda _: False))
    lines = [*map(str, draft.problems), *draft.warnings]
    assert [line for line in lines if CANARY in line or TOKEN in line] == []


def test_a_broken_line_of_an_env_file_is_not_quoted() -> None:
    """It may be half of a secret; its number is enough."""
    with pytest.raises(ConfigurationError) as caught:
        read_env_file(f"HF TOKEN={CANARY}\n{CANARY}=\n{CANARY} = 1\n -----{CANARY}\n", {})
    assert CANARY not in str(caught.value)
    assert [problem.key for problem in caught.value.problems] == ["line 1", "line 4"]


def environment() -> dict[str, str]:
    """A secret in every wrong place that a single environment can have."""
    placed = dict.fromkeys([*TYPOS, *SECRETS], CANARY) | dict.fromkeys(ORDINARY, TOKEN)
    # What a real canary would do to the test itself: where to look, and what to leave alone.
    for name in ("IGNORE_ENV", "VLLM_CONFIG_FILE", "WORKER_MANIFEST", "BASE_PATH", "HF_HOME", "HF_HUB_CACHE"):
        placed.pop(name, None)
    return placed | {"VLLM_EXTRA_ARGS": f"--seed {CANARY} {TOKEN} --api-key={CANARY}"}


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.parametrize("what", [("check",), ("show",), ("show", "--all")])
def test_config_shows_no_secret(
    what: tuple[str, ...], options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In no form of its output."""
    file = tmp_path / "worker.env"
    file.write_text("\n".join(f"{name}={value}" for name, value in environment().items()))
    assert main(["config", *what, "--env-file", str(file), *options]) == 78
    shown = "".join(capsys.readouterr())
    assert [line for line in shown.splitlines() if CANARY in line or TOKEN in line] == []
    assert "***" in shown


@pytest.mark.parametrize(
    "verb",
    [("start",), ("doctor", "--no-start"), ("health",), ("bake",), ("config", "check"), ("local", "--port", "0")],
)
@pytest.mark.timeout(60)
def test_no_command_shows_a_secret(verb: tuple[str, ...]) -> None:
    """Started in such an environment."""
    done = subprocess.run(
        [sys.executable, "-m", "worker_vllm", *verb],
        env={**environment(), **INHERITED},
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode != 0
    shown = done.stdout + done.stderr
    assert [line for line in shown.splitlines() if CANARY in line or TOKEN in line] == []
    assert "Traceback" not in shown


def test_a_crash_shows_no_secret() -> None:
    """The traceback of an exception that quotes the environment, from the command line's own entry point."""
    code = (
        "import os\nfrom worker_vllm import cli\n"
        "def crash(verb): raise ValueError(dict(os.environ))\n"
        "cli.load_command = crash\ncli.main(['start'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**dict.fromkeys([*TYPOS, *SECRETS], CANARY), **INHERITED, "MODEL_NAME": TOKEN},
        check=False,
        capture_output=True,
        text=True,
        timeout=9,
    )
    assert done.returncode == 1
    assert "ValueError" in done.stderr
    assert CANARY not in done.stderr
    assert TOKEN not in done.stderr


def test_a_config_file_that_is_no_yaml_is_refused_without_its_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parser's own message quotes the line."""
    config, file = tmp_path / "vllm.yaml", tmp_path / "worker.env"
    config.write_text(f"seed: 1\napi-key: [{CANARY}\nmodel: x\n")
    file.write_text(f"VLLM_CONFIG_FILE={config}\n")
    assert main(["config", "check", "--env-file", str(file), "--json"]) == 78
    report = json.loads(capsys.readouterr().out)
    assert CANARY not in json.dumps(report)
    assert "line 3" in report["problems"][0]["expected"]


def test_problems_of_a_form_with_a_secret_do_not_quote_it() -> None:
    """The form may have been saved with the token filled in."""
    field = {"env_var_name": "HF_TOKEN", "title": "t", "description": "d", "required": False, "type": "number"}
    fields = {name: {**field, "env_var_name": name, "value": CANARY} for name in ("HF_TOKEN", "HF_TOKENS")}
    problems = check_form({"schema": fields, "versions": {}})
    assert problems == [f"schema.{name}.value: got '***', expected a number or an empty text" for name in fields]
