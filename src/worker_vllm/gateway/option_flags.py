"""The gateway's options as `--set NAME=VALUE` arguments; names and types come from the options' dataclasses."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any

from worker_vllm.errors import RequestError
from worker_vllm.gateway.options import GatewayOptions

OWN_ARGUMENTS = frozenset(
    {"faults", "any_endpoint", "endpoint_ids"}
)  # options with a command-line argument of their own
TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})


def option_flags(options: GatewayOptions) -> Mapping[str, Any]:
    """Every option with its value: `waits.take_s`, `sort_keys`, …"""
    found: dict[str, Any] = {}
    for field in fields(options):
        value = getattr(options, field.name)
        if is_dataclass(value):
            found |= {f"{field.name}.{inner.name}": getattr(value, inner.name) for inner in fields(value)}
        elif field.name not in OWN_ARGUMENTS:
            found[field.name] = value
    return found


def apply_option_flags(options: GatewayOptions, assignments: Iterable[str]) -> GatewayOptions:
    """Apply `NAME=VALUE` assignments. Raises RequestError for an unknown name or an invalid value."""
    for assignment in assignments:
        name, _, text = assignment.partition("=")
        known = option_flags(options)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0)
            raise RequestError(f'--set {assignment}: unknown option "{name}"; the nearest is {near[0]}')
        group, _, field = name.rpartition(".")
        value = _parse(assignment, text, known[name])
        if group:
            options = replace(options, **{group: replace(getattr(options, group), **{field: value})})
        else:
            options = replace(options, **{field: value})
    return options


def _parse(assignment: str, text: str, default: Any) -> Any:
    try:
        match default:
            case bool():
                return _parse_bool(text)
            case Enum():
                return type(default)(text)
            case int() | float():
                value = type(default)(text)
                if not 0 <= value < math.inf:  # also excludes NaN
                    raise ValueError
                return value
            case _:
                return tuple(part.strip() for part in text.split(",") if part.strip())
    except ValueError:
        raise RequestError(f"--set {assignment}: expected {_expectation(default)}") from None


def _parse_bool(text: str) -> bool:
    if text.lower() not in TRUE | FALSE:
        raise ValueError
    return text.lower() in TRUE


def _expectation(default: Any) -> str:
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, Enum):
        return "one of " + ", ".join(member.value for member in type(default))
    return "a whole number from 0" if isinstance(default, int) else "a number from 0"
