"""`worker-vllm config translate`: settings from and to `vllm serve`, the original worker's variables and ours."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from worker_vllm.errors import ConfigurationError
from worker_vllm.host_inspection import inspect_host
from worker_vllm.settings.env_file import read_env_file
from worker_vllm.settings.parsers import BadValue
from worker_vllm.settings.translation import written_form
from worker_vllm.settings.translation.container_command import read_command, split_words
from worker_vllm.settings.translation.translate import Form, Translation, from_command, from_variables

EXIT_USAGE = 2
EXIT_CONFIGURATION = 78
FORMATS = {"env": written_form.env_file, "shell": written_form.shell, "json": written_form.as_json}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the source, the form to translate to and the output's format."""
    parser.add_argument("--to", choices=[str(form) for form in Form], help="default: ours from a command, else serve")
    parser.add_argument("--format", choices=FORMATS, help="default: shell for a command, env for variables")
    parser.add_argument("--env-file", type=Path, help="variables to read instead of this environment")
    parser.add_argument(
        "--command-file", type=Path, metavar="FILE", help="a file with the command; - for standard input"
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, help="-- vllm serve …, or docker run … vllm/vllm-openai …"
    )


def run(args: argparse.Namespace) -> int:
    """Exit status 0, 78 for settings that cannot be served, 2 for a command or file that cannot be read."""
    try:
        found = _translate(args)
    except OSError as error:
        print(f"worker-vllm config translate: {error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_USAGE
    except BadValue as bad:
        print(f"worker-vllm config translate: expected {bad.expected}; {bad.change}", file=sys.stderr)
        return EXIT_USAGE
    except ConfigurationError as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return EXIT_CONFIGURATION
    form = args.format or ("shell" if found.command else "env")
    if form == "env" and found.command:
        print(
            "worker-vllm config translate: a command is no env file: use --format shell or json, or --to ours",
            file=sys.stderr,
        )
        return EXIT_USAGE
    print(FORMATS[form](found))
    return 0


def _translate(args: argparse.Namespace) -> Translation:
    words = [word for at, word in enumerate(args.command) if at or word != "--"]
    if args.command_file:
        words = split_words(sys.stdin.read() if str(args.command_file) == "-" else args.command_file.read_text())
    if words:
        env = dict(os.environ)
        return from_command(read_command(words), Form(args.to or Form.OURS), inspect_host(env))
    env = read_env_file(args.env_file.read_text(), os.environ) if args.env_file else dict(os.environ)
    return from_variables(env, Form(args.to or Form.SERVE), inspect_host(env))
