"""Validates a filled form as `config check` does, and writes what it amounts to."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from worker_vllm.config_report import check_chat_template, shown
from worker_vllm.console.deploy import recipes
from worker_vllm.console.deploy.deploy_form import LONGEST_NAME, SECRET_FIELDS, DeployRequest, form_fields
from worker_vllm.errors import Problem
from worker_vllm.forms.image import IMAGE
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import build_draft, freeze
from worker_vllm.settings.summary import summary

NAME = re.compile(rf"[a-z0-9](?:[a-z0-9-]{{0,{LONGEST_NAME - 2}}}[a-z0-9])?")


def validate(request: DeployRequest, inspect: Callable[[Mapping[str, str]], HostFacts]) -> dict[str, Any]:
    """The report for the page: a summary, every problem with its field, warnings, and the outputs.

    The settings are validated for the published image, so for vLLM; which engine answers on this machine changes
    nothing about them. `inspect` reads the facts of this machine.
    """
    environment = dict(request.environment)
    draft = build_draft(environment, inspect(environment))
    check_chat_template(draft)
    problems = [*_name_problems(request.name), *draft.problems]
    report: dict[str, Any] = {
        "ok": not problems,
        "summary": summary(draft) if draft.problems or not problems else f"✗ {problems[0]}",
        "problems": [
            {**asdict(problem), "text": str(problem), "field": field_of(problem.key)} for problem in problems
        ],
        "warnings": list(draft.warnings),
        "outputs": {},
    }
    if not draft.problems:
        report["outputs"] = _outputs(request, shown(freeze(draft), environment, everything=False))
    return report


def field_of(key: str) -> str | None:
    """The form's field that a problem's key names, None for a key that the form does not have."""
    name = key.partition(" ")[0].partition("=")[0].lstrip("-").replace("-", "_").upper()
    return next((found for found in (key, name) if found in form_fields() or found == "endpoint-name"), None)


def fields_in(text: str) -> list[str]:
    """The form's fields that a diagnosis names, in its order."""
    words = re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b|--[a-z][a-z0-9-]+", text)
    found = [field for word in words if (field := field_of(word)) is not None]
    return list(dict.fromkeys(found))


def _name_problems(name: str) -> list[Problem]:
    if NAME.fullmatch(name):
        return []
    expected = f"lower-case letters, digits and dashes, at most {LONGEST_NAME}"
    return [Problem("endpoint-name", name, expected, "write for example demo")]


def _outputs(request: DeployRequest, report: Mapping[str, Any]) -> dict[str, str]:
    environment = request.public_environment
    secrets = tuple(name for name in SECRET_FIELDS if name in request.environment)
    variables = [f"{name}={shlex.quote(text)} \\\n" for name, text in report["engine_environment"].items()]
    return {
        "engine_command": "".join(variables) + _wrapped([*map(shlex.quote, report["engine_command"])]),
        "env_file": recipes.env_file(environment, secrets),
        "docker_run": recipes.docker_run(IMAGE, environment, secrets),
        "compose": recipes.compose(IMAGE, environment, secrets),
        "template": recipes.runpod_template(request.name, IMAGE, environment, secrets),
    }


def _wrapped(words: list[str]) -> str:
    """A command with one option on each line."""
    return " ".join(f"\\\n  {word}" if word.startswith("--") else word for word in words)
