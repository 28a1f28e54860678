"""The settings while they are being worked out: what was said, by whom, and what is wrong with it."""

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
    """An effective value, who said it, and under which name."""

    value: Any
    source: str
    key: str


@dataclass(slots=True)
class SettingsBuilder:
    """Collects engine flags, worker fields, problems and warnings; nothing in it stops at the first mistake."""

    env: dict[str, str]  # names that are set, texts cleaned
    facts: HostFacts
    table: FlagTable
    engine: dict[str, Chosen] = field(default_factory=dict)  # by the flag's environment name
    fields: dict[str, Chosen] = field(default_factory=dict)  # by place in Settings
    environment: dict[str, str] = field(default_factory=dict)  # extra variables of the child
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    secret_names: frozenset[str] = frozenset()  # variables whose value is never quoted
    typed: dict[str, str] = field(default_factory=dict)  # name that counts → name as the operator wrote it
    redact: Redactor = field(default_factory=lambda: Redactor(()))

    def refuse(self, key: str, expected: str, change: str, value: object = None) -> None:
        """Note a problem; `value` where it is not simply what the environment says. Secrets are not quoted."""
        shown = self._shown(key, value)
        shown = shown if len(shown) <= LONGEST_QUOTE else f"{shown[:LONGEST_QUOTE]}…"
        key = self.typed.get(key, key)
        self.problems.append(Problem(key, shown, self.redact(expected), self.redact(change)))

    def _shown(self, key: str, value: object) -> str:
        text = str(self.env.get(key, "") if value is None else value)
        if key in self.secret_names or looks_secret(key) or is_token(text):
            return HIDDEN
        return self.redact(quotable(text) if key == EXTRA_ARGS else text)

    def warn(self, line: str) -> None:
        """Note something that the operator should know once."""
        self.warnings.append(self.redact(line))

    def set_flag(self, name: str, value: Any, source: str, key: str) -> None:
        """The value of a flag; a later call wins."""
        self.engine[name] = Chosen(value, source, key)

    def set_field(self, place: str, value: Any, key: str, source: str = ENVIRONMENT) -> None:
        """The value of a field of Settings."""
        self.fields[place] = Chosen(value, source, key)

    def flag_value(self, name: str) -> Any:
        """The effective value of a flag so far; vLLM's default where nobody set it."""
        if name in self.engine:
            return self.engine[name].value
        return self.table.flags[name].default if name in self.table.flags else None

    def first(self, *names: str) -> str | None:
        """The first of these names that is set."""
        return next((name for name in names if name in self.env), None)

    def parsed(self, setting: Setting, key: str | None = None) -> Any:
        """The typed value of a catalogue setting, or None when it is unset or wrong (then noted)."""
        name = key or self.first(setting.name, *setting.aliases)
        if name is None or name not in self.env:
            return None
        try:
            value = typed(setting, self.env[name])
        except BadValue as bad:
            self.refuse(name, bad.expected, bad.change)
            return None
        if setting.zero_unset and value == 0:
            self.note_zero(setting, name)
            return None
        return value

    def note_zero(self, setting: Setting, name: str) -> None:
        """Say that a 0 was taken as nothing, unless nothing is what 0 was documented to mean."""
        if setting.default not in ("0", "0.0"):
            self.warn(f"{name}={self.env[name]} is taken as not set")

    def parse_flag(self, flag: Flag, text: str, key: str) -> Any:
        """The typed value of a flag's text, or None when it is wrong (then noted)."""
        try:
            return flag.parse(text)
        except BadValue as bad:
            self.refuse(key, bad.expected, bad.change, text)
            return None

    def argv(self) -> list[str]:
        """The engine's argv for everything that differs from vLLM's own default, in the order of names."""
        items: list[str] = []
        for name, chosen in sorted(self.engine.items()):
            flag = self.table.flags[name]
            if not same(chosen.value, flag.default):
                items += flag.argv(chosen.value)
        return items


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, and not only as Python's numbers see it: 0 is no way to say false."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def typed(setting: Setting, text: str) -> Any:
    """A catalogue setting's text as what it should be. Raises BadValue."""
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
