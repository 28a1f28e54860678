"""Env files: NAME=value lines, as docker and compose read them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from worker_vllm.errors import ConfigurationError, Problem
from worker_vllm.settings.redaction import HIDDEN

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def read_env_file(text: str, outer: Mapping[str, str]) -> dict[str, str]:
    """The variables of a file's text; a name without `=` takes its value from `outer`.

    Comments and empty lines are skipped; `export` and quotes around a value are removed. Raises ConfigurationError
    with the number of every other line; a line is never quoted, since it may hold a secret.
    """
    found: dict[str, str] = {}
    problems = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip().removeprefix("export ").lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not NAME.fullmatch(name.strip()):
            problems.append(
                Problem(f"line {number}", HIDDEN, "NAME=value, or # before a comment", "correct the line")
            )
        elif equals:
            found[name.strip()] = _unquoted(value.strip())
        elif name.strip() in outer:
            found[name.strip()] = outer[name.strip()]
    if problems:
        raise ConfigurationError(problems)
    return found


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value
