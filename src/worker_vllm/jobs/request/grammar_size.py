"""The size of a grammar without compiling it: bytes, depth and alternatives of a JSON value and the texts in it.

The walk is iterative and ends as soon as a limit is exceeded, so that the limits bound its cost, not the request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker_vllm.settings.types import RequestLimits

# Texts that are regular expressions or grammars: each bar and each rule counts as an alternative.
PATTERN_KEYS = frozenset({"regex", "pattern", "grammar", "guided_regex", "guided_grammar", "lark", "definition"})
# Texts that may contain a complete schema as JSON.
JSON_KEYS = frozenset({"json", "guided_json", "structural_tag", "schema", "json_schema"})
# The tokens that count in a pattern: groups, bars, rules, repetitions. Escapes and character classes are skipped.
PATTERN = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}|::=|[()|]", re.DOTALL)
MOST_REPEATS = 10**9
LONG_TEXT = 50  # characters of a constant, a name or a pattern that count as one more alternative
MANY_MEMBERS = 1000  # an object with this many properties counts double: its grammar grows faster than their number
BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
# Objects whose members count as alternatives, texts that do not count by length, and lists whose items do not count.
MEMBERS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
PROSE_KEYS = frozenset({"description", "title", "$comment", *JSON_KEYS})
NAMES_ONLY = frozenset({"required", "examples"})


@dataclass(slots=True)
class GrammarSize:
    """The size measured so far. `cut` is set when the walk ended early because a limit was exceeded."""

    bytes: int = 0
    depth: int = 0
    alternatives: int = 0
    cut: bool = False

    def exceeds(self, limits: RequestLimits) -> bool:
        """Whether a limit is exceeded; a limit of 0 is none."""
        return bool(
            (limits.schema_bytes and self.bytes > limits.schema_bytes)
            or (limits.schema_depth and self.depth > limits.schema_depth)
            or (limits.schema_alternatives and self.alternatives > limits.schema_alternatives)
        )


def measure(key: str, value: Any, size: GrammarSize, limits: RequestLimits) -> None:
    """Add the value of `key` to `size`, up to the first limit that it exceeds."""
    pending: list[Iterator[tuple[str, Any]]] = [iter([(key, value)])]
    while pending:
        size.depth = max(size.depth, len(pending) - 1)
        for name, item in pending[-1]:
            inner = _count(name, item, size, limits)
            if size.exceeds(limits):
                size.cut = True
                return
            if inner is not None:
                pending.append(inner)
                break
        else:
            pending.pop()


def _count(key: str, value: Any, size: GrammarSize, limits: RequestLimits) -> Iterator[tuple[str, Any]] | None:
    """Count one value. Returns its members, None when it has none."""
    if isinstance(value, str):
        size.bytes += _utf8_length(value) + 3
        size.alternatives += 0 if key in PROSE_KEYS else len(value) // LONG_TEXT
        if key in PATTERN_KEYS:
            size.alternatives += pattern_alternatives(value)
        return _parse_embedded(key, value, size, limits) if key in JSON_KEYS else None
    if isinstance(value, Mapping):
        names = sum(_utf8_length(str(name)) + 4 for name in value)
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


def _parse_embedded(
    key: str, text: str, size: GrammarSize, limits: RequestLimits
) -> Iterator[tuple[str, Any]] | None:
    """The value of a text that is JSON; None for other text, which the engine itself refuses."""
    if size.exceeds(limits):
        return None
    depth = text_depth(text)
    size.depth = max(size.depth, depth)
    try:
        return None if size.exceeds(limits) else iter([(key, json.loads(text))])
    except (ValueError, RecursionError):
        return None


def text_depth(text: str) -> int:
    """The nesting depth of a JSON text, found without parsing it."""
    depth = deepest = 0
    for token in BRACKETS.finditer(text):
        depth += (token[0] in "[{") - (token[0] in "]}")
        deepest = max(deepest, depth)
    return deepest


def pattern_alternatives(text: str) -> int:
    """The number of alternatives and rules in a regular expression or a grammar, repetitions included.

    A repetition counts its maximum, multiplied by the repeated group's alternatives or characters.
    """
    counts, starts = [0], [0]  # of each open group: alternatives so far, and start position
    inner = size = closed = 0  # of the last closed group: alternatives, characters, end position
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


def _utf8_length(text: str) -> int:
    """The text's length in UTF-8 bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
