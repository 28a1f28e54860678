"""What the diagnosis is made of: the words for a row of its table, and for what comes out. No table, no pattern."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

TOO_SLOW = "start too slow"  # the one cause that is told by the clock


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
class FaultPattern:
    """One way to end."""

    cause: str
    scope: Scope
    when: When
    pattern: str
    what: str
    change: str
    remedy: Remedy | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The cause in two or three words, its scope, and the sentence for whoever asks."""

    cause: str
    scope: Scope
    sentence: str
    remedy: Remedy | None = None
    quote: str = ""
    before_weights: bool = False  # the start ended before the weights were in

    @property
    def report(self) -> str:
        """For the log: the sentence, its class, and the engine's own words."""
        quoted = f"; the engine said: {self.quote}" if self.quote else ""
        return f"{self.sentence} [{self.cause}, {self.scope}]{quoted}"


def settings(cause: str, pattern: str, what: str, change: str, remedy: Remedy | None = None) -> FaultPattern:
    """A start that these settings cannot survive."""
    return FaultPattern(cause, Scope.SETTINGS, When.STARTING, pattern, what, change, remedy)


def host(cause: str, pattern: str, what: str, change: str) -> FaultPattern:
    """An end that this machine is to blame for."""
    return FaultPattern(cause, Scope.HOST, When.EVER, pattern, what, change)


def passing(cause: str, pattern: str, what: str, change: str, remedy: Remedy | None = None) -> FaultPattern:
    """An end that need not come again."""
    return FaultPattern(cause, Scope.PASSING, When.EVER, pattern, what, change, remedy)
