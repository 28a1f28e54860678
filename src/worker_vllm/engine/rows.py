"""What a row of the diagnosis table says. The rows are in `mistakes` and `endings`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """Whose fault it is, which decides what follows."""

    SETTINGS = "settings"
    HOST = "host"
    PASSING = "passing"


class When(StrEnum):
    """In which part of its life the engine may end this way."""

    STARTING = "starting"
    RUNNING = "running"
    EVER = "ever"


class Remedy(StrEnum):
    """What may help without anybody's doing; each is tried once."""

    LESS_MEMORY = "less memory"
    SHORTER_CONTEXT = "shorter context"
    AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Row:
    """One way to end."""

    cause: str
    scope: Scope
    when: When
    pattern: re.Pattern[str]
    what: str
    change: str
    remedy: Remedy | None = None


def settings(cause: str, pattern: str, what: str, change: str, remedy: Remedy | None = None) -> Row:
    """A start that these settings cannot survive."""
    return Row(cause, Scope.SETTINGS, When.STARTING, re.compile(pattern), what, change, remedy)


def host(cause: str, pattern: str, what: str, change: str) -> Row:
    """An end that this machine is to blame for."""
    return Row(cause, Scope.HOST, When.EVER, re.compile(pattern), what, change)


def passing(cause: str, pattern: str, what: str, change: str, remedy: Remedy | None = None) -> Row:
    """An end that need not come again."""
    return Row(cause, Scope.PASSING, When.EVER, re.compile(pattern), what, change, remedy)
