"""`worker-vllm config`: show or check the effective settings, check a form, render the generated files."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from worker_vllm.engine.process.command import engine_argv
from worker_vllm.errors import ConfigurationError, Problem
from worker_vllm.host_inspection import inspect_host
from worker_vllm.models.locate import locate_model
from worker_vllm.settings.builder import SettingsBuilder
from worker_vllm.settings.env_file import read_env_file
from worker_vllm.settings.load import build_draft, freeze
from worker_vllm.settings.provenance import NOT_SET, UNCHOSEN
from worker_vllm.settings.redaction import Redactor
from worker_vllm.settings.summary import served, summary
from worker_vllm.settings.types import EngineKind, Settings

EXIT_CONFIGURATION = 78
MARKS = {"✓": "ok:", "✗": "no:"}  # with words for terminals that cannot show them
SOCKET = "SOCKET"  # stands for the fresh path that every launch gets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """show | check | form | render, each with its own options."""
    verbs = parser.add_subparsers(dest="what", required=True)
    show = verbs.add_parser("show", help="what was set, where it came from, and the engine's command")
    check = verbs.add_parser("check", help="exit 0 when the settings can work, 78 with every problem when not")
    for verb in (show, check):
        verb.add_argument("--env-file", type=Path, help="NAME=value lines to read instead of this environment")
        verb.add_argument("--json", action="store_true", help="for machines")
    show.add_argument("--all", action="store_true", help="every name that exists, not only what was set")
    form = verbs.add_parser("form", help="check a worker-config.json, ours or anybody's")
    form.add_argument("--check", type=Path, required=True, metavar="FILE", help="the file to check")
    form.add_argument("--json", action="store_true", help="for machines")


def run(args: argparse.Namespace) -> int:
    """0, 78 for settings or forms that cannot work, 1 for stale files."""
    return _form(args) if args.what == "form" else _settings(args)


def _settings(args: argparse.Namespace) -> int:
    try:
        env = read_env_file(args.env_file.read_text(), os.environ) if args.env_file else dict(os.environ)
    except OSError as error:
        print(f"worker-vllm config: {args.env_file}: {error.strerror}", file=sys.stderr)
        return 2
    except ConfigurationError as error:
        return _tell(args, {"problems": [asdict(problem) for problem in error.problems]}, [])
    draft = build_draft(env, inspect_host(env))
    told: dict[str, Any] = {"ok": not draft.problems, "problems": [asdict(problem) for problem in draft.problems]}
    told["warnings"] = draft.warnings
    if args.what == "check":
        told["serves"] = None if draft.problems else draft.redact.value(served(draft))
        return _tell(args, told, _checked(draft))
    settings = freeze(draft)
    told |= shown(settings, env, everything=args.all)
    return _tell(args, told, _lines(draft, told, len(settings.origins)))


def shown(settings: Settings, env: dict[str, str], *, everything: bool) -> dict[str, Any]:
    """What was set, or every name that exists, and the engine's command; secrets are shown as ***."""
    engine = settings.engine
    if engine.kind is EngineKind.VLLM:
        engine = locate_model(engine, env).onto(engine)
    command = [] if engine.kind is EngineKind.ATTACH else ["vllm", *engine_argv(engine, SOCKET)[3:]]
    rows = [row for row in settings.origins if everything or row.source not in UNCHOSEN]
    told = {
        "mode": str(settings.mode),
        "settings": [{"name": row.name, "value": plain(row.value), "source": row.source} for row in rows],
        "engine_command": command,
        "engine_environment": dict(engine.environment),
    }
    redact = Redactor(settings.secrets)
    return {key: redact.value(value) for key, value in told.items()}


def plain(value: object) -> object:
    """A value as JSON can hold it."""
    if value is None or isinstance(value, bool | int | float | str | dict):
        return value
    return [plain(item) for item in value] if isinstance(value, list | tuple) else str(value).strip("'")


def _checked(draft: SettingsBuilder) -> list[str]:
    return [summary(draft), *(f"warning: {warning}" for warning in draft.warnings), *map(str, draft.problems)]


def _lines(draft: SettingsBuilder, told: dict[str, Any], count: int) -> list[str]:
    rows = told["settings"]
    width = max((len(row["name"]) for row in rows), default=0)
    lines = [f"{row['name']:<{width}}  {_words(row)}" for row in rows]
    if rest := count - len(rows):
        lines.append(f"… and {rest} that nobody set: --all shows them with their defaults")
    variables = " ".join(f"{name}={shlex.quote(text)}" for name, text in told["engine_environment"].items())
    lines += ["", f"mode: {told['mode']}", f"engine: {variables} {shlex.join(told['engine_command'])}", ""]
    return [*lines, *_checked(draft)]


def _words(row: dict[str, Any]) -> str:
    value = row["value"]
    if row["source"] == NOT_SET:
        return f"({NOT_SET})"
    if value is None or value == "":
        return f"not set  ({row['source']})"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{text}  ({row['source']})"


def _tell(args: argparse.Namespace, told: dict[str, Any], lines: list[str]) -> int:
    problems = [Problem(**problem) for problem in told["problems"]]
    if args.json:
        print(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        print(printable("\n".join(lines or map(str, problems)), sys.stdout.encoding))
    return EXIT_CONFIGURATION if problems else 0


def printable(text: str, encoding: str | None) -> str:
    """The text with whatever a terminal of this encoding cannot show replaced."""
    for mark, word in MARKS.items():
        text = text if _encodes(mark, encoding) else text.replace(mark, word)
    return text.encode(encoding or "utf-8", "replace").decode(encoding or "utf-8")


def _encodes(mark: str, encoding: str | None) -> bool:
    try:
        mark.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _form(args: argparse.Namespace) -> int:
    from worker_vllm.forms.check import check_form

    try:
        document = json.loads(args.check.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        print(f"worker-vllm config form: {args.check}: {error}", file=sys.stderr)
        return 2
    problems = check_form(document)
    if args.json:
        print(json.dumps({"ok": not problems, "problems": problems}, indent=2))
    else:
        print("\n".join(problems) or "ok")
    return EXIT_CONFIGURATION if problems else 0
