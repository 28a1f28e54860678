"""Parses a user's chat template before the engine starts; vLLM would report a syntax error at each request only.

Jinja comes with the engine. Where it is not installed nothing is checked; without a template it is not imported.
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
    """The syntax error of the template in the arguments, which name it as text or as a file."""
    given = EngineArguments(arguments).get("--chat-template")
    if not given:
        return ()
    text = read(given)
    error = None if text is None else syntax_error(text)
    if text is None or error is None:
        return ()
    line, reason = error
    at = (text.splitlines() or [""])[min(line, len(text.splitlines())) - 1].strip()[:QUOTED_CHARACTERS]
    return (Problem(NAME, at, "a Jinja template", f"line {line}: {reason}"),)


def read(given: str) -> str | None:
    """The template's text, from the file if `given` is a path; None for an unreadable file, which vLLM reports."""
    try:
        return Path(given).read_text(encoding="utf-8") if os.path.isfile(given) else given
    except (OSError, ValueError):
        return None


def syntax_error(text: str) -> tuple[int, str] | None:
    """Line and reason; None for a template that transformers (5.x) would accept, and where Jinja is not installed."""
    try:
        from jinja2 import Environment, TemplateSyntaxError, nodes
        from jinja2.ext import Extension
        from jinja2.parser import Parser
    except ImportError:
        return None

    class GenerationTag(Extension):
        """The tag that marks the assistant's part of a template."""

        tags = {"generation"}  # noqa: RUF012  # as jinja declares it

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    try:
        Environment(extensions=[GenerationTag, "jinja2.ext.loopcontrols"]).parse(text)  # nothing is rendered
    except TemplateSyntaxError as error:
        return error.lineno, error.message or "a syntax error"
    return None
