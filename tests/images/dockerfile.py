"""A Dockerfile as its stages and steps: enough of its syntax to check it by rules and to carry it out elsewhere."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True)
class Step:
    """One instruction; `flags` are its `--name=value` words, `text` what follows them."""

    instruction: str
    flags: tuple[str, ...]
    text: str

    @property
    def words(self) -> list[str]:
        """The arguments, of the JSON form as of the shell form."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)

    def flag(self, name: str) -> str | None:
        """The value of one flag."""
        return next((flag.partition("=")[2] for flag in self.flags if flag.startswith(f"--{name}=")), None)

    @property
    def mounts(self) -> list[dict[str, str]]:
        """What a RUN step has mounted, each as its options."""
        values = [flag.partition("=")[2] for flag in self.flags if flag.startswith("--mount=")]
        return [dict(option.partition("=")[::2] for option in value.split(",")) for value in values]


@dataclass(frozen=True)
class Stage:
    """One FROM and what follows it."""

    base: str
    name: str
    steps: list[Step] = field(default_factory=list)


@dataclass(frozen=True)
class Dockerfile:
    """The arguments before the first stage, with their defaults, and the stages."""

    arguments: Mapping[str, str]
    stages: list[Stage]

    @classmethod
    def read(cls, path: Path) -> Dockerfile:
        """Parse a file; ValueError for a line that is no instruction."""
        arguments: dict[str, str] = {}
        stages: list[Stage] = []
        for step in _steps(path.read_text()):
            if step.instruction == "FROM":
                base, *rest = step.text.split()
                stages.append(Stage(base, rest[1] if rest else str(len(stages))))
            elif stages:
                stages[-1].steps.append(step)
            elif step.instruction == "ARG":
                arguments |= assignments(step.text)
            else:
                raise ValueError(f"{step.instruction} before the first FROM")
        return cls(arguments, stages)


def assignments(text: str) -> dict[str, str]:
    """`NAME=value NAME2="value"`; a name without a value is empty."""
    return {name: value for name, _, value in (word.partition("=") for word in shlex.split(text))}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Variables put in, as in ENV, LABEL, COPY and FROM."""
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], ""), text)


def _steps(text: str) -> Iterator[Step]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "")
    for line in filter(None, (line.strip() for line in joined.splitlines())):
        instruction, _, rest = line.partition(" ")
        if not instruction.isupper():
            raise ValueError(f"no instruction: {line}")
        flags = []
        while rest.lstrip().startswith("--"):
            flag, _, rest = rest.lstrip().partition(" ")
            flags.append(flag)
        yield Step(instruction, tuple(flags), rest.strip())
