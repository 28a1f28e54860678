"""The catalogue of settings: every variable that the worker reads by name, one line each in catalog/*.json.

`specification.json` holds the specification's rows in its order and groups, `later.json` the names that later
releases of the original added, `worker.json` the names that are new here. Parsing, provenance, documentation, forms
and tests are derived from it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent
FILES = ("specification", "later", "worker")


class Handling(StrEnum):
    """How a setting is handled: what its value acts on."""

    ENGINE = "engine"  # a vLLM flag
    TRANSLATED = "translated"  # read by a rule in code, for example an old name of a flag
    WORKER = "worker"  # a field of Settings
    ENVIRONMENT = "environment"  # read from the environment by a library or by another command
    GONE = "gone"  # without effect today; `note` gives the reason


class Kind(StrEnum):
    """The type of a value."""

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    SIZE = "size"
    TEXT = "text"
    CHOICE = "choice"
    JSON = "json"
    LIST = "list"
    SECRET = "secret"


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable: its name, type, documented default, and how it is handled."""

    name: str
    group: str  # where forms and the documentation show it
    kind: Kind
    help: str
    default: str = ""  # as the specification prints it; empty for none
    handling: Handling = Handling.ENGINE
    options: tuple[str, ...] = ()
    flag: str = ""  # environment name of the vLLM flag that it sets, where the names differ
    field: str = ""  # place in Settings, such as queue.max_concurrency
    scale: float = 1.0  # factor between the number and `field`
    aliases: tuple[str, ...] = ()  # other names; the setting's own name wins
    note: str = ""
    zero_unset: bool = False  # 0 counts as not set: consoles send it for an empty field
    least: float | None = None
    specified: bool = False  # a row of the specification's table

    @property
    def target(self) -> str:
        """The environment name of the vLLM flag that an ENGINE setting sets."""
        return self.flag or self.name


@cache
def catalog() -> dict[str, Setting]:
    """Every setting by its name, in the order of the files."""
    found = {}
    for file in FILES:
        groups = json.loads((DATA / f"{file}.json").read_text(encoding="utf-8"))
        for group, entries in groups.items():
            for name, entry in entries.items():
                found[name] = _setting(name, group, entry, specified=file == "specification")
    return found


@cache
def names() -> dict[str, Setting]:
    """Every name and alias to its setting."""
    settings = catalog()
    aliases = {alias: one for one in settings.values() for alias in one.aliases}
    return aliases | settings


def _setting(name: str, group: str, entry: dict[str, Any], *, specified: bool) -> Setting:
    tuples: dict[str, Any] = {key: tuple(entry[key]) for key in ("options", "aliases") if key in entry}
    handling = Handling(entry.get("handling", Handling.WORKER if "field" in entry else Handling.ENGINE))
    ready = entry | tuples | {"handling": handling, "kind": Kind(entry["kind"])}
    return Setting(name=name, group=group, specified=specified, **ready)
