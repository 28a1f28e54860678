"""The types of the diagnosis: a pattern of its tables, and its result."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

TOO_SLOW = "start too slow"  # the only cause that is found by a deadline


class Scope(StrEnum):
    """Where the fault lies, which decides what the worker does next."""

    SETTINGS = "settings"
    HOST = "host"
    PASSING = "passing"


class When(StrEnum):
    """In which part of a run the fault can occur."""

    STARTING = "starting"
    RUNNING = "running"
    EVER = "ever"


class Remedy(StrEnum):
    """A change that the worker itself tries at a relaunch; each is tried once."""

    LESS_MEMORY = "less memory"
    SHORTER_CONTEXT = "shorter context"
    AGAIN = "again"


@dataclass(frozen=True, slots=True)
class FaultPattern:
    """One fault: the pattern that finds it in the log, and its sentence, `what` and `change`."""

    cause: str
    scope: Scope
    when: When
    pattern: str
    what: str
    change: str
    remedy: Remedy | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The cause in two or three words, its scope, and the sentence for callers and the log."""

    cause: str
    scope: Scope
    sentence: str
    remedy: Remedy | None = None
    quote: str = ""
    before_weights: bool = False  # the start ended before the weights were loaded

    @property
    def report(self) -> str:
        """The log line: the sentence, cause and scope, and the engine's own message."""
        quoted = f"; the engine's last message: {self.quote}" if self.quote else ""
        return f"{self.sentence} [{self.cause}, {self.scope}]{quoted}"


def settings(cause: str, pattern: str, what: str, change: str, remedy: Remedy | None = None) -> FaultPattern:
    """A fault in the settings, which every start with them meets."""
    return FaultPattern(cause, Scope.SETTINGS, When.STARTING, pattern, what, change, remedy)


def host(cause: str, pattern: str, what: str, change: str) -> FaultPattern:
    """A fault of this machine."""
    return FaultPattern(cause, Scope.HOST, When.EVER, pattern, what, change)


def passing(cause: str, pattern: str, what: str, change: str, remedy: Remedy | None = None) -> FaultPattern:
    """A fault that may not occur again."""
    return FaultPattern(cause, Scope.PASSING, When.EVER, pattern, what, change, remedy)
