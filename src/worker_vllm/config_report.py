"""What `config show` and `config check` report about settings; the console's form is validated by the same code."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

from worker_vllm.engine.preflight.chat_template import template_problems
from worker_vllm.engine.process.command import engine_argv
from worker_vllm.errors import Problem
from worker_vllm.models.locate import locate_model
from worker_vllm.settings.builder import SettingsBuilder
from worker_vllm.settings.provenance import UNCHOSEN
from worker_vllm.settings.redaction import Redactor
from worker_vllm.settings.types import EngineKind, Settings

SOCKET = "SOCKET"  # placeholder: every launch creates a new path


def check_chat_template(draft: SettingsBuilder) -> None:
    """Add a template's syntax error to the problems; nothing for other engines, and where Jinja is not installed."""
    kind = draft.fields["engine.kind"].value if "engine.kind" in draft.fields else EngineKind.VLLM
    if kind is EngineKind.VLLM:
        for problem in template_problems(draft.argv()):
            key, line, expected, change = map(draft.redact, astuple(problem))
            draft.problems.append(Problem(key, line, expected, change))


def shown(settings: Settings, env: dict[str, str], *, everything: bool) -> dict[str, Any]:
    """The values that are set, or every known name, and the engine's command; secrets are shown as ***."""
    engine = settings.engine
    if engine.kind is EngineKind.VLLM:
        engine = locate_model(engine, env).apply_to(engine)
    command = [] if engine.kind is EngineKind.ATTACH else ["vllm", *engine_argv(engine, SOCKET)[3:]]
    rows = [row for row in settings.origins if everything or row.source not in UNCHOSEN]
    report = {
        "mode": str(settings.mode),
        "settings": [{"name": row.name, "value": plain(row.value), "source": row.source} for row in rows],
        "engine_command": command,
        "engine_environment": dict(engine.environment),
    }
    redact = Redactor(settings.secrets)
    return {key: redact.value(value) for key, value in report.items()}


def plain(value: object) -> object:
    """A value in a form that JSON can hold."""
    if value is None or isinstance(value, bool | int | float | str | dict):
        return value
    return [plain(item) for item in value] if isinstance(value, list | tuple) else str(value).strip("'")
