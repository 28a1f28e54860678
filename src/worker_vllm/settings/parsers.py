"""Typed values from environment texts. BadValue states what was expected and what to write instead."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from worker_vllm.errors import ANY_CHOICE
from worker_vllm.settings.suggestions import nearest

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})
NOTHING = frozenset({"none", "null"})
DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
SIZE = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])")


class BadValue(ValueError):
    """An invalid text; `expected` and `change` complete the error message."""

    def __init__(self, expected: str, change: str) -> None:
        super().__init__(expected)
        self.expected = expected
        self.change = change


def cleaned(text: str, *, free_text: bool = False) -> str | None:
    """The stripped text; None when it counts as not set: empty, or None/null unless `free_text`."""
    text = text.strip()
    if not text or (not free_text and text.lower() in NOTHING):
        return None
    return text


def parse_bool(text: str) -> bool:
    """A boolean: 1/0, true/false, yes/no, on/off in any case. Raises BadValue."""
    word = text.strip().lower()
    if word in TRUE or word in FALSE:
        return word in TRUE
    raise BadValue("a yes or no: 1/0, true/false, yes/no, on/off", "write 1 or 0")


def parse_int(text: str) -> int:
    """A whole number; `4.0` counts as one. Raises BadValue."""
    try:
        return int(text)
    except ValueError:
        pass
    number = _float(text)
    if number is not None and number.is_integer() and "e" not in text.lower():
        return int(number)
    raise BadValue("a whole number", "write digits only, for example 8")


def parse_float(text: str) -> float:
    """A finite number. Raises BadValue."""
    number = _float(text)
    if number is None:
        raise BadValue("a number", "write digits with a point, for example 0.9")
    return number


def _float(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def parse_size(text: str, *, auto: bool = False) -> int:
    """A whole number, also as 8k (8000), 8K (8192), 1.5m …; with `auto`, auto and -1 give -1. Raises BadValue."""
    text = text.strip()
    if auto and text.lower() in ("auto", "-1"):
        return -1
    form = "8k, 8K, auto" if auto else "8k, 8K"
    if match := SIZE.fullmatch(text):
        number, suffix = match.groups()
        if suffix in DECIMAL:
            return int(float(number) * DECIMAL[suffix])
        if "." in number:
            raise BadValue("no decimals before K, M, G, T (powers of 1024)", f"write {number}{suffix.lower()}")
        return int(number) * BINARY[suffix]
    try:
        return parse_int(text)
    except BadValue:
        raise BadValue(f"a whole number, or {form}", "write for example 8192 or 8k") from None


def parse_json(text: str) -> Any:
    """Any JSON value, without NaN and Infinity. Raises BadValue."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        where = f" ({error.msg} at column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise BadValue(f"JSON{where}", 'write it in double quotes, for example {"key": 1}') from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object. Raises BadValue."""
    value = parse_json(text)
    if not isinstance(value, dict):
        raise BadValue("a JSON object", 'write {"key": value, …}')
    return value


def parse_list(text: str) -> list[str]:
    """Items of a JSON array, or texts separated by commas or blanks; objects in an array stay JSON text."""
    stripped = text.strip()
    if stripped.startswith("["):
        value = parse_json(stripped)
        return [item if isinstance(item, str) else compact_json(item) for item in value]
    if stripped.startswith("{"):
        return [stripped]
    return [item for item in re.split(r"[,\s]+", stripped) if item]


def compact_json(value: Any) -> str:
    """JSON on one line without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def one_of(text: str, choices: Sequence[str]) -> str:
    """The choice that equals the text, ignoring case. Raises BadValue."""
    for choice in choices:
        if text == choice:
            return choice
    for choice in choices:
        if text.lower() == choice.lower():
            return choice
    raise not_among(text, choices)


def not_among(text: str, choices: Iterable[str]) -> BadValue:
    """The error for a text that is none of the choices, with the nearest choice if there is one."""
    known = list(choices)
    meant = nearest(text, known)
    return BadValue(f"one of {', '.join(known)}", f"did you mean {meant}?" if meant else ANY_CHOICE)
