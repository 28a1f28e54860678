"""The settings while they are built: values with their sources, problems and warnings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from worker_vllm.errors import Problem
from worker_vllm.settings.catalog.catalog import Kind, Setting
from worker_vllm.settings.flags.flag_table import Flag, FlagTable
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.parsers import (
    BadValue,
    not_among,
    parse_bool,
    parse_float,
    parse_int,
    parse_json,
    parse_list,
    parse_size,
)
from worker_vllm.settings.redaction import HIDDEN, Redactor, is_token, looks_secret, quotable

LONGEST_QUOTE = 200
BAKED, CONFIG_FILE, ENVIRONMENT, EXTRA_ARGS = "baked model", "config file", "environment", "VLLM_EXTRA_ARGS"
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Chosen:
    """An effective value, the layer that set it, and the variable or flag it was set by."""

    value: Any
    source: str
    key: str


@dataclass(slots=True)
class SettingsBuilder:
    """Collects engine flags, worker fields, problems and warnings. A problem is recorded and does not raise."""

    env: dict[str, str]  # variables that are set, with blanks stripped
    facts: HostFacts
    table: FlagTable
    engine: dict[str, Chosen] = field(default_factory=dict)  # by the flag's environment name
    fields: dict[str, Chosen] = field(default_factory=dict)  # by place in Settings, such as queue.max_concurrency
    environment: dict[str, str] = field(default_factory=dict)  # extra variables of the engine process
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    secret_names: frozenset[str] = frozenset()  # variables whose value is never quoted
    written_names: dict[str, str] = field(default_factory=dict)  # known name → name in the environment
    redact: Redactor = field(default_factory=lambda: Redactor(()))

    def refuse(self, key: str, expected: str, change: str, value: object = None) -> None:
        """Record a problem. `value` replaces the variable's own text in the message; secrets are not quoted."""
        shown = self._shown(key, value)
        shown = shown if len(shown) <= LONGEST_QUOTE else f"{shown[:LONGEST_QUOTE]}…"
        key = self.written_names.get(key, key)
        self.problems.append(Problem(key, shown, self.redact(expected), self.redact(change)))

    def _shown(self, key: str, value: object) -> str:
        text = str(self.env.get(key, "") if value is None else value)
        if key in self.secret_names or looks_secret(key) or is_token(text):
            return HIDDEN
        return self.redact(quotable(text) if key == EXTRA_ARGS else text)

    def warn(self, line: str) -> None:
        """Record a warning that is logged once at start."""
        self.warnings.append(self.redact(line))

    def set_flag(self, name: str, value: Any, source: str, key: str) -> None:
        """Set a flag; a later call overrides an earlier one."""
        self.engine[name] = Chosen(value, source, key)

    def set_field(self, place: str, value: Any, key: str, source: str = ENVIRONMENT) -> None:
        """Set a field of Settings, named by its place."""
        self.fields[place] = Chosen(value, source, key)

    def flag_value(self, name: str) -> Any:
        """The effective value of a flag so far; vLLM's default where it is not set."""
        if name in self.engine:
            return self.engine[name].value
        return self.table.flags[name].default if name in self.table.flags else None

    def first_set(self, *names: str) -> str | None:
        """The first of these variables that is set; None when none is."""
        return next((name for name in names if name in self.env), None)

    def parsed(self, setting: Setting, key: str | None = None) -> Any:
        """The typed value of a catalogue setting; None when it is not set, or invalid and recorded as a problem."""
        name = key or self.first_set(setting.name, *setting.aliases)
        if name is None or name not in self.env:
            return None
        try:
            value = parse_setting(setting, self.env[name])
        except BadValue as bad:
            self.refuse(name, bad.expected, bad.change)
            return None
        if setting.zero_unset and value == 0:
            self.warn_zero(setting, name)
            return None
        return value

    def warn_zero(self, setting: Setting, name: str) -> None:
        """Warn that a 0 counts as not set, unless 0 is the documented default."""
        if setting.default not in ("0", "0.0"):
            self.warn(f"{name}={self.env[name]} is taken as not set")

    def parse_flag(self, flag: Flag, text: str, key: str) -> Any:
        """The typed value of a flag's text; None when it is invalid and recorded as a problem."""
        try:
            return flag.parse(text)
        except BadValue as bad:
            self.refuse(key, bad.expected, bad.change, text)
            return None

    def argv(self) -> list[str]:
        """The engine's argv for every flag that differs from vLLM's default, sorted by name."""
        items: list[str] = []
        for name, chosen in sorted(self.engine.items()):
            flag = self.table.flags[name]
            if not same_value(chosen.value, flag.default):
                items += flag.argv(chosen.value)
        return items


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are equal, without Python's equality of 0 and False."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def parse_setting(setting: Setting, text: str) -> Any:
    """A catalogue setting's text as a value of its kind. Raises BadValue."""
    match setting.kind:
        case Kind.BOOL:
            return parse_bool(text)
        case Kind.INT | Kind.FLOAT | Kind.SIZE:
            return _number(setting, text)
        case Kind.JSON:
            return parse_json(text)
        case Kind.LIST:
            return parse_list(text)
        case Kind.CHOICE:
            return _choice(setting.options, text)
        case _:
            return text


def _number(setting: Setting, text: str) -> float:
    parsers = {Kind.INT: parse_int, Kind.FLOAT: parse_float, Kind.SIZE: parse_size}
    value = parsers[setting.kind](text)
    if setting.least is not None and value < setting.least and not (setting.zero_unset and value == 0):
        raise BadValue(f"at least {setting.least:g}", f"write {setting.least:g} or more")
    return value


def _choice(options: Iterable[str], text: str) -> str:
    for option in options:
        if option.lower() == text.lower():
            return option
    raise not_among(text, options)
