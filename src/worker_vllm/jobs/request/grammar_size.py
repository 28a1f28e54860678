"""How large a grammar is, without compiling it: bytes, depth and alternatives of a JSON value and the texts in it.

The walk is a loop over a list of what is still to see, and ends as soon as a limit is passed, so that what it costs
is bounded by the limits and not by the request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker_vllm.settings.types import RequestLimits

# Texts that are regular expressions or grammars: a bar is one more alternative, and so is a rule.
PATTERN_KEYS = frozenset({"regex", "pattern", "grammar", "guided_regex", "guided_grammar", "lark", "definition"})
# Texts that may hold a whole schema as JSON.
JSON_KEYS = frozenset({"json", "guided_json", "structural_tag", "schema", "json_schema"})
# What counts in such a text: groups, bars, rules, repetitions; what is escaped, quoted or in a class does not.
PATTERN = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}|::=|[()|]", re.DOTALL)
MOST_REPEATS = 10**9
LONG_TEXT = 50  # so many characters of a constant, a name or a pattern count as one more alternative
MANY_MEMBERS = 1000  # an object of so many properties counts twice: their grammar grows faster than their number
BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
# Objects whose members are alternatives of their own, and the one list whose items are not.
MEMBERS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
PROSE_KEYS = frozenset({"description", "title", "$comment", *JSON_KEYS})
NAMES_ONLY = frozenset({"required", "examples"})


@dataclass(slots=True)
class GrammarSize:
    """Everything seen so far; `cut` once the walk ended early because a limit was passed."""

    bytes: int = 0
    depth: int = 0
    alternatives: int = 0
    cut: bool = False

    def passes(self, limits: RequestLimits) -> bool:
        """Whether a limit is passed."""
        return bool(
            (limits.schema_bytes and self.bytes > limits.schema_bytes)
            or (limits.schema_depth and self.depth > limits.schema_depth)
            or (limits.schema_alternatives and self.alternatives > limits.schema_alternatives)
        )


def measure(key: str, value: Any, size: GrammarSize, limits: RequestLimits) -> None:
    """Add what stands under `key` to `size`, as far as the first limit that it passes."""
    waiting: list[Iterator[tuple[str, Any]]] = [iter([(key, value)])]
    while waiting:
        size.depth = max(size.depth, len(waiting) - 1)
        for name, item in waiting[-1]:
            inner = _add(name, item, size, limits)
            if size.passes(limits):
                size.cut = True
                return
            if inner is not None:
                waiting.append(inner)
                break
        else:
            waiting.pop()


def _add(key: str, value: Any, size: GrammarSize, limits: RequestLimits) -> Iterator[tuple[str, Any]] | None:
    """Count one value; what is inside it, if anything."""
    if isinstance(value, str):
        size.bytes += _length(value) + 3
        size.alternatives += 0 if key in PROSE_KEYS else len(value) // LONG_TEXT
        if key in PATTERN_KEYS:
            size.alternatives += pattern_alternatives(value)
        return _parsed(key, value, size, limits) if key in JSON_KEYS else None
    if isinstance(value, Mapping):
        names = sum(_length(str(name)) + 4 for name in value)
        size.bytes += 2 + names
        if key in MEMBERS:
            size.alternatives += len(value) + len(value) ** 2 // MANY_MEMBERS + names // LONG_TEXT
        return iter([(str(name), item) for name, item in value.items()])
    if isinstance(value, list):
        size.bytes += 2 + len(value)
        size.alternatives += 0 if key in NAMES_ONLY else len(value)
        return ((key if key in MEMBERS else "", item) for item in value)
    size.bytes += value.bit_length() // 3 + 2 if isinstance(value, int) else 6
    return None


def _parsed(key: str, text: str, size: GrammarSize, limits: RequestLimits) -> Iterator[tuple[str, Any]] | None:
    """The value of a text that is JSON. A text that is none is left to the engine, which says so."""
    if size.passes(limits):
        return None
    depth = text_depth(text)
    size.depth = max(size.depth, depth)
    try:
        return None if size.passes(limits) else iter([(key, json.loads(text))])
    except (ValueError, RecursionError):
        return None


def text_depth(text: str) -> int:
    """How deeply a JSON text is nested, found without reading it as JSON."""
    depth = deepest = 0
    for token in BRACKETS.finditer(text):
        depth += (token[0] in "[{") - (token[0] in "]}")
        deepest = max(deepest, depth)
    return deepest


def pattern_alternatives(text: str) -> int:
    """The alternatives and rules of a regular expression or a grammar, what is repeated as often as it may be.

    Each time counts once, or as often as the repeated group has alternatives or characters.
    """
    counts, starts = [0], [0]  # of each open group: alternatives so far, and where it began
    inner = size = closed = 0  # of the group that was closed last: alternatives, characters, and where it ended
    for found in PATTERN.finditer(text):
        sign = found[0]
        if sign == "(":
            counts.append(0)
            starts.append(found.end())
        elif sign == ")" and len(counts) > 1:
            inner, size, closed = counts.pop(), found.start() - starts.pop(), found.end()
            counts[-1] += inner
        elif sign in ("|", "::="):
            counts[-1] += 1
        elif found[1] is not None and sign[0] == "{":
            times = min(int((found[2] or found[1] or "1")[:10]), MOST_REPEATS)
            if found.start() == closed:
                times = times * max(1 + inner, size) - inner
            counts[-1] += times
    return 1 + min(sum(counts), MOST_REPEATS)


def _length(text: str) -> int:
    """Bytes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
