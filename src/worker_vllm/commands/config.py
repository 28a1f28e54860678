"""`worker-vllm config`: show, check or translate the effective settings, or check a form."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from worker_vllm.commands import config_translate
from worker_vllm.config_report import check_chat_template, shown
from worker_vllm.errors import ConfigurationError, Problem
from worker_vllm.host_inspection import inspect_host
from worker_vllm.settings.builder import SettingsBuilder
from worker_vllm.settings.env_file import read_env_file
from worker_vllm.settings.load import build_draft, freeze
from worker_vllm.settings.provenance import NOT_SET
from worker_vllm.settings.summary import served, summary

EXIT_CONFIGURATION = 78
MARKS = {"✓": "ok:", "✗": "no:"}  # words for terminals that cannot encode the marks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands show, check, form and translate with their options."""
    verbs = parser.add_subparsers(dest="what", required=True)
    show = verbs.add_parser("show", help="what is set, which layer set it, and the engine's command")
    check = verbs.add_parser("check", help="exit 0 for valid settings, 78 with every problem for invalid ones")
    for verb in (show, check):
        verb.add_argument("--env-file", type=Path, help="NAME=value lines to read instead of this environment")
        verb.add_argument("--json", action="store_true", help="print JSON")
    show.add_argument("--all", action="store_true", help="every known name, not only those that are set")
    form = verbs.add_parser("form", help="check a worker-config.json of any worker")
    form.add_argument("--check", type=Path, required=True, metavar="FILE", help="the file to check")
    form.add_argument("--json", action="store_true", help="print JSON")
    words = "from and to vllm serve, the original worker's variables and ours"
    config_translate.add_arguments(verbs.add_parser("translate", help=words))


def run(args: argparse.Namespace) -> int:
    """Run the subcommand. Exit status 0, 78 for invalid settings or an invalid form, 2 for an unreadable file."""
    if args.what == "translate":
        return config_translate.run(args)
    return _form(args) if args.what == "form" else _settings(args)


def _settings(args: argparse.Namespace) -> int:
    try:
        env = read_env_file(args.env_file.read_text(), os.environ) if args.env_file else dict(os.environ)
    except OSError as error:
        print(f"worker-vllm config: {args.env_file}: {error.strerror}", file=sys.stderr)
        return 2
    except ConfigurationError as error:
        return _print_report(args, {"problems": [asdict(problem) for problem in error.problems]}, [])
    draft = build_draft(env, inspect_host(env))
    if args.what == "check":
        check_chat_template(draft)
    report: dict[str, Any] = {"ok": not draft.problems, "problems": [asdict(problem) for problem in draft.problems]}
    report["warnings"] = draft.warnings
    if args.what == "check":
        report["serves"] = None if draft.problems else draft.redact.value(served(draft))
        return _print_report(args, report, _summary_lines(draft))
    settings = freeze(draft)
    report |= shown(settings, env, everything=args.all)
    return _print_report(args, report, _lines(draft, report, len(settings.origins)))


def _summary_lines(draft: SettingsBuilder) -> list[str]:
    return [summary(draft), *(f"warning: {warning}" for warning in draft.warnings), *map(str, draft.problems)]


def _lines(draft: SettingsBuilder, report: dict[str, Any], count: int) -> list[str]:
    rows = report["settings"]
    width = max((len(row["name"]) for row in rows), default=0)
    lines = [f"{row['name']:<{width}}  {_words(row)}" for row in rows]
    if rest := count - len(rows):
        lines.append(f"… and {rest} that are not set: --all shows them with their defaults")
    variables = " ".join(f"{name}={shlex.quote(text)}" for name, text in report["engine_environment"].items())
    lines += ["", f"mode: {report['mode']}", f"engine: {variables} {shlex.join(report['engine_command'])}", ""]
    return [*lines, *_summary_lines(draft)]


def _words(row: dict[str, Any]) -> str:
    value = row["value"]
    if row["source"] == NOT_SET:
        return f"({NOT_SET})"
    if value is None or value == "":
        return f"not set  ({row['source']})"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{text}  ({row['source']})"


def _print_report(args: argparse.Namespace, report: dict[str, Any], lines: list[str]) -> int:
    problems = [Problem(**problem) for problem in report["problems"]]
    if args.json:
        print(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        print(printable("\n".join(lines or map(str, problems)), sys.stdout.encoding))
    return EXIT_CONFIGURATION if problems else 0


def printable(text: str, encoding: str | None) -> str:
    """The text with characters replaced that a terminal of this encoding cannot show."""
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
