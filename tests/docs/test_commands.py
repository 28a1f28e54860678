"""Every command of this package that the documentation shows exists, with the options that it is shown with."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from worker_vllm.cli import VERBS, load_command

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
SHOWN = re.compile(r"worker-vllm ([a-z]+)((?: [^`|#>\n\\]+)?)")
OTHERS = re.compile(r" -- .*")  # after `--` stands another program's command


@cache
def options(verb: str) -> frozenset[str]:
    """The options of a verb, those of its own verbs included."""
    parser = argparse.ArgumentParser()
    load_command(verb).add_arguments(parser)
    return frozenset(declared(parser))


def declared(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The options of a parser and of those below it."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from declared(below)


def shown(page: Path) -> set[tuple[str, str]]:
    """Verb and option of each command in a page's code; the option is empty for the verb alone."""
    text = page.read_text().replace("\\\n", " ")
    code = re.findall(r"`(worker-vllm [^`]+)`|^(?: {4}|\$ )?((?:[A-Z_]+=\S+ )*worker-vllm .*)$", text, re.MULTILINE)
    found = set()
    for line in (one or other for one, other in code):
        for verb, rest in SHOWN.findall(OTHERS.sub("", line)):
            found |= {(verb, ""), *((verb, option) for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", rest))}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shown_commands_have_the_shown_options(page: Path) -> None:
    for verb, option in sorted(shown(page)):
        assert verb in VERBS, f"no verb {verb}"
        assert not option or option in options(verb), f"worker-vllm {verb} has no {option}"


def test_the_pages_show_commands() -> None:
    assert len({one for page in PAGES for one in shown(page)}) > 35
