"""A chat template of the user's own: parsed before the engine is started, which would complain at each request only.

Jinja comes with the engine; where it is not installed nothing is checked, and without a template nothing is imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from worker_vllm.errors import Problem
from worker_vllm.settings.arguments import EngineArguments

NAME = "CUSTOM_CHAT_TEMPLATE"
QUOTED_CHARACTERS = 60


def template_problems(arguments: Sequence[str]) -> tuple[Problem, ...]:
    """What is wrong with the syntax of the template that the arguments name, as text or as a file."""
    given = EngineArguments(arguments).get("--chat-template")
    if not given:
        return ()
    text = read(given)
    told = None if text is None else syntax_error(text)
    if text is None or told is None:
        return ()
    line, why = told
    at = (text.splitlines() or [""])[min(line, len(text.splitlines())) - 1].strip()[:QUOTED_CHARACTERS]
    return (Problem(NAME, at, "a jinja template", f"line {line}: {why}"),)


def read(given: str) -> str | None:
    """The template's text: the file's where it is one; None where that cannot be read, which the engine reports."""
    try:
        return Path(given).read_text(encoding="utf-8") if os.path.isfile(given) else given
    except (OSError, ValueError):
        return None


def syntax_error(text: str) -> tuple[int, str] | None:
    """Line and reason; None for a template that can be parsed as transformers (5.x) would, and where nobody can."""
    try:
        from jinja2 import Environment, TemplateSyntaxError, nodes
        from jinja2.ext import Extension
        from jinja2.parser import Parser
    except ImportError:
        return None

    class Generation(Extension):
        """The tag with which templates mark the assistant's part."""

        tags = {"generation"}  # noqa: RUF012  # as jinja declares it

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    try:
        Environment(extensions=[Generation, "jinja2.ext.loopcontrols"]).parse(text)  # nothing is rendered
    except TemplateSyntaxError as error:
        return error.lineno, error.message or "a syntax error"
    return None
