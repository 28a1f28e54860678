"""The flags of `vllm serve` as data: their names, values and argv.

The data is introspected from vLLM's parser (tools/introspect_vllm.py), one file for each version in this directory.
`marks.json` lists the flags that only the worker sets and the names that belong to the system, each with its reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from worker_vllm.settings import versions
from worker_vllm.settings.parsers import (
    FALSE,
    TRUE,
    BadValue,
    compact_json,
    one_of,
    parse_bool,
    parse_float,
    parse_int,
    parse_json,
    parse_list,
    parse_object,
    parse_size,
)
from worker_vllm.settings.suggestions import nearest

DATA = Path(__file__).parent
SHIPPED = versions.VLLM
NEGATIVE = re.compile(r"-\d+")
PLAIN = re.compile(r"[A-Za-z]+(?:[_-][A-Za-z]+\d?)*")
# One letter for each kind of JSON that a field of a config object accepts, as tools/introspect_vllm.py writes them.
KINDS_OF_JSON = {
    "n": "null",
    "b": "true or false",
    "i": "a whole number",
    "z": "0",
    "m": "a negative number",
    "f": "a number",
    "t": "a text",
    "d": "a number's text",
    "w": "a yes or no",
    "a": "an array",
    "o": "an object",
}


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of `vllm serve`; `name` is its environment name, `kind` the type of one value."""

    name: str
    flag: str
    kind: str  # pair, switch, int, float, size, text, json, json-or-text, config
    many: bool = False  # takes several argv items
    repeat: bool = False  # is repeated for each item
    fold: bool = False  # ignores case and dashes
    nullable: bool = False
    auto: bool = False  # a size that also takes auto
    choices: tuple[Any, ...] = ()
    known: tuple[str, ...] = ()  # values that vLLM accepts where its parser takes any text
    default: Any = None
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def is_bool(self) -> bool:
        """Whether the flag takes no value."""
        return self.kind in ("pair", "switch")

    @property
    def holds_object(self) -> bool:
        """Whether the value is a JSON object."""
        return self.kind in ("json", "json-or-text", "config")

    def parse(self, text: str) -> Any:
        """The typed value of an environment text. Raises BadValue."""
        if self.many or self.repeat:
            return [self._item(item) for item in parse_list(text)]
        return self._one(text.strip())

    def accept(self, value: Any) -> Any:
        """The typed value of a structured one, from a config file. Raises BadValue."""
        if isinstance(value, bool) and not self.is_bool:
            raise BadValue(self.expectation, "give a value")
        if isinstance(value, list) and (self.many or self.repeat):
            return [self._item(item if isinstance(item, str) else compact_json(item)) for item in value]
        return self.parse(value if isinstance(value, str) else compact_json(value))

    def _item(self, text: str) -> Any:
        if text.startswith("-") and not NEGATIVE.fullmatch(text):
            raise BadValue("items without a leading dash, which vLLM would read as flags", "remove the dash")
        return self._one(text)

    def _one(self, text: str) -> Any:
        match self.kind:
            case "pair" | "switch":
                return parse_bool(text)
            case "int":
                value: Any = parse_int(text)
            case "float":
                value = parse_float(text.removesuffix("%")) if self.most == 1 else parse_float(text)
            case "size":
                value = parse_size(text, auto=self.auto)
            case "json":
                value = parse_json(text)
                value = self._known_fields(value) if self.fields and isinstance(value, dict) else value
            case "config":
                value = self._known_fields(parse_object(text))
            case "json-or-text":
                value = parse_object(text) if text.lstrip().startswith("{") else text
            case _:
                value = text.lower().replace("-", "_") if self.fold else text
        return self._within(value)

    def _known_fields(self, value: dict[str, Any]) -> dict[str, Any]:
        for key, inner in value.items():
            if key not in self.fields:
                raise BadValue(f"an object with keys among {', '.join(self.fields)}", _known_key(key, self.fields))
            kinds, *words = self.fields[key]
            if (kinds or words) and kind_of_json(inner) not in kinds and f"={inner}" not in words:
                allowed = [*(KINDS_OF_JSON[kind] for kind in kinds), *(word.removeprefix("=") for word in words)]
                raise BadValue(f"{key!r} to be one of: {', '.join(allowed)}", f"correct the value of {key!r}")
        return value

    def _within(self, value: Any) -> Any:
        if self.choices:
            if isinstance(value, str):
                return one_of(value, [str(choice) for choice in self.choices])
            if value not in self.choices:
                raise BadValue(f"one of {', '.join(map(str, self.choices))}", "choose one of them")
        if isinstance(value, int | float) and not isinstance(value, bool) and not self._in_range(value):
            raise BadValue(self.expectation, self._nearby(value))
        return value

    def _nearby(self, value: float) -> str:
        """The change for a number out of range: 0.92 for 92 where a fraction is expected."""
        if self.kind == "float" and self.most == 1 and value > 1 and self._in_range(value / 100):
            return f"did you mean {value / 100:g}?"
        return "choose a value in that range"

    def _in_range(self, value: float) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    @property
    def expectation(self) -> str:
        """The expected value in words."""
        nouns = {"int": "a whole number", "float": "a number", "size": "a whole number, or 8k, 8K", "text": "a text"}
        words = nouns.get(self.kind, "a yes or no" if self.is_bool else "a JSON object")
        limits = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return ", ".join([words, *(f"{word} {limit:g}" for word, limit in limits.items() if limit is not None)])

    def argv(self, value: Any) -> list[str]:
        """The argv items that set a value; empty where the flag has none for it (false of a plain switch)."""
        if self.is_bool:
            no = "--no-" + self.flag.removeprefix("--")
            return [self.flag] if value else ([no] if self.kind == "pair" else [])
        if self.repeat:
            return [item for one in value for item in (self.flag, argument(one))]
        if self.many:
            return [self.flag, *(argument(one) for one in value)] if value else []
        text = compact_json(value) if self.kind == "json" else argument(value)
        return [f"{self.flag}={text}"] if text.startswith("-") else [self.flag, text]


def _known_key(key: str, known: Iterable[str]) -> str:
    """The change for an unknown key of an object; the key is quoted where it is a plain word."""
    meant = nearest(key, known)
    quoted = f"rename or remove {key!r}" if PLAIN.fullmatch(key) else "rename or remove the other keys"
    return f"{quoted}; did you mean {meant!r}?" if meant else quoted


def kind_of_json(value: Any) -> str:
    """The letter of KINDS_OF_JSON for a JSON value."""
    match value:
        case None:
            return "n"
        case bool():
            return "b"
        case int() | float():
            whole = float(value).is_integer()
            return "f" if not whole else "i" if value > 0 else "z" if value == 0 else "m"
        case str():
            number = re.fullmatch(r"[+-]?\d+", value.strip())
            return "d" if number else "w" if value.lower() in TRUE | FALSE else "t"
        case list():
            return "a"
        case _:
            return "o"


def argument(value: Any) -> str:
    """A value as one argv item."""
    return value if isinstance(value, str) else compact_json(value)


@dataclass(frozen=True, slots=True)
class FlagTable:
    """Flags, variables and architectures of one vLLM version."""

    version: str
    flags: Mapping[str, Flag]
    variables: frozenset[str]  # names that vLLM itself reads from the environment
    architectures: Mapping[str, tuple[str, ...]]

    @property
    def servable(self) -> frozenset[str]:
        """Every architecture that a model may name in its config.json."""
        kinds = (names for kind, names in self.architectures.items() if kind != "no longer supported")
        return frozenset(name for names in kinds for name in names)

    def by_option(self, option: str) -> tuple[Flag, bool] | None:
        """The flag of an option such as --enable-lora, --no-enable-lora or -tp, and False for a negated one."""
        dashed = option.replace("_", "-") if option.startswith("--") else option
        for flag in self.flags.values():
            if dashed == flag.flag or dashed in flag.aliases:
                return flag, True
            if flag.kind == "pair" and dashed == "--no-" + flag.flag.removeprefix("--"):
                return flag, False
        return None


@dataclass(frozen=True, slots=True)
class Marks:
    """Names with a special treatment, each with its reason: set by the worker, ignored, or read nevertheless."""

    owned: Mapping[str, str]
    ambient: Mapping[str, str]
    obeyed: Mapping[str, str]


@cache
def marks() -> Marks:
    """The lists of marks.json."""
    return Marks(**json.loads((DATA / "marks.json").read_text(encoding="utf-8")))


def known_versions() -> list[str]:
    """The vLLM versions that flag data exists for, oldest first."""
    names = [path.stem for path in DATA.glob("*.json") if path.stem[0].isdigit()]
    return sorted(names, key=lambda name: [int(part) for part in name.split(".")])


@cache
def flag_table(version: str = SHIPPED) -> FlagTable:
    """The flags of one vLLM version, or of the nearest older one with data."""
    known = known_versions()
    raw = json.loads(
        (DATA / f"{version if version in known else nearest_version(version, known)}.json").read_text("utf-8")
    )
    flags = {name: _flag(name, entry) for name, entry in raw["flags"].items()}
    kinds = {kind: tuple(names) for kind, names in raw["architectures"].items()}
    return FlagTable(raw["vllm"], flags, frozenset(raw["variables"]), kinds)


def nearest_version(version: str, known: list[str]) -> str:
    """The newest known version not newer than this one; the oldest when all are newer."""

    def order(name: str) -> list[int]:
        return [int(part) for part in name.split("+")[0].split(".")[:2] if part.isdigit()]

    older = [name for name in known if order(name) <= order(version)]
    return older[-1] if older else known[0]


def _flag(name: str, entry: Mapping[str, Any]) -> Flag:
    lists = ("choices", "known", "aliases")
    ready: dict[str, Any] = {key: tuple(value) if key in lists else value for key, value in entry.items()}
    ready["fields"] = {key: tuple(types) for key, types in entry.get("fields", {}).items()}
    return Flag(name=name, **ready)
