"""A deployment in the forms that are pasted elsewhere: valid where they go, and without a secret."""

from __future__ import annotations

import json
import shlex

import yaml

from worker_vllm.console.deploy import recipes
from worker_vllm.settings.env_file import read_env_file

IMAGE = "image:tag"
VALUES = {"MODEL_NAME": "a/b", "STOP": 'it\'s $5 "now" #1', "JSON": '{"a": "\\n"}'}
SECRETS = ("HF_TOKEN",)


def test_the_env_file_reads_back_as_the_settings() -> None:
    """As this worker and docker read it; secrets are named in a comment alone."""
    text = recipes.env_file(VALUES, SECRETS)
    assert read_env_file(text, {}) == VALUES
    assert text.splitlines()[-1] == "# HF_TOKEN=…  (secret: add it yourself)"


def test_a_value_of_several_lines_is_named_and_left_out() -> None:
    """An env file has no form for it."""
    assert recipes.env_file({"A": "1\n2", "B": "3"}, ()) == "# A has several lines: pass it with -e\nB=3"


def test_the_command_is_one_for_a_shell() -> None:
    """Every value arrives as it is; a secret comes from the shell's own variable."""
    words = shlex.split(recipes.docker_run(IMAGE, VALUES, SECRETS).replace("\\\n", ""))
    given = [words[at + 1] for at, word in enumerate(words) if word == "-e"]
    assert given == [
        "WORKER_MODE=http",
        "PORT=8000",
        *(f"{name}={value}" for name, value in VALUES.items()),
        "HF_TOKEN",
    ]
    assert words[-1] == IMAGE


def test_the_compose_file_is_yaml_with_the_values() -> None:
    """Compose expands `$`, so it is doubled."""
    service = yaml.safe_load(recipes.compose(IMAGE, VALUES, SECRETS))["services"]["worker"]
    expected = {name: value.replace("$", "$$") for name, value in VALUES.items()}
    expected |= {"WORKER_MODE": "http", "PORT": "8000", "HF_TOKEN": "${HF_TOKEN:?set HF_TOKEN in your shell}"}
    assert (service["image"], service["environment"]) == (IMAGE, expected)


def test_the_template_refers_to_runpods_secret() -> None:
    """RunPod replaces it when a worker starts."""
    assert json.loads(recipes.runpod_template("demo", IMAGE, VALUES, SECRETS)) == {
        "name": "demo",
        "imageName": IMAGE,
        "isServerless": True,
        "containerDiskInGb": 50,
        "env": {**VALUES, "HF_TOKEN": "{{ RUNPOD_SECRET_HF_TOKEN }}"},
    }
