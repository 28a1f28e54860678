"""The command line of `vllm serve` as a value, read and changed by flag in each spelling that vLLM's parser accepts.

vLLM 0.32.0, utils/argparse_utils.py, FlexibleArgumentParser: `--flag value`, `--flag=value`, underscores for dashes,
short flags, `-O3` for `--optimization-level 3`, and `--flag.key value` for one key of a JSON object. Abbreviated
flags (`--max-num-se`) are not resolved: the settings write every flag out in full.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

SHORT_FLAGS = {
    "-O": "--optimization-level",
    "-ac": "--attention-config",
    "-asc": "--api-server-count",
    "-cc": "--compilation-config",
    "-dc": "--diffusion-config",
    "-dcp": "--decode-context-parallel-size",
    "-dp": "--data-parallel-size",
    "-dpa": "--data-parallel-address",
    "-dpb": "--data-parallel-backend",
    "-dpe": "--data-parallel-external-lb",
    "-dph": "--data-parallel-hybrid-lb",
    "-dpl": "--data-parallel-size-local",
    "-dpm": "--data-parallel-multi-port-external-lb",
    "-dpn": "--data-parallel-rank",
    "-dpp": "--data-parallel-rpc-port",
    "-dpr": "--data-parallel-start-rank",
    "-ep": "--enable-expert-parallel",
    "-n": "--nnodes",
    "-pcp": "--prefill-context-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-q": "--quantization",
    "-r": "--node-rank",
    "-sc": "--speculative-config",
    "-tp": "--tensor-parallel-size",
}
GLUED = re.compile(r"(-[Onqr])=?(.+)", re.DOTALL)  # only a flag of one letter may be followed by its value at once
NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")
# The flags by which a user chooses how much of the model is compiled.
COMPILATION_FLAGS = ("--enforce-eager", "--no-enforce-eager", "--compilation-config", "--optimization-level")


@dataclass(frozen=True, slots=True)
class Option:
    """One flag of a command line with the words that belong to it."""

    flag: str  # in full, with dashes; empty for the words before the first flag
    key: str  # of `--flag.key value`; empty where the complete value is set
    values: tuple[str, ...]
    words: tuple[str, ...]  # as they stand in the command line


@dataclass(frozen=True, slots=True, init=False)
class EngineArguments:
    """An immutable `vllm serve` command line. Where a flag is given twice, the last one counts, as in argparse."""

    argv: tuple[str, ...]

    def __init__(self, argv: Iterable[str] = ()) -> None:
        object.__setattr__(self, "argv", tuple(argv))

    @property
    def options(self) -> tuple[Option, ...]:
        """The words grouped by flag, in their order."""
        found: list[Option] = []
        for word in self.argv:
            if is_flag(word):
                found.append(_option(word))
            elif found:
                last = found[-1]
                found[-1] = Option(last.flag, last.key, (*last.values, word), (*last.words, word))
            else:
                found.append(Option("", "", (word,), (word,)))
        return tuple(found)

    def has(self, *flags: str) -> bool:
        """Whether one of the flags is given, with or without a value."""
        asked = {full_name(flag) for flag in flags}
        return any(option.flag in asked for option in self.options)

    def values(self, flag: str) -> tuple[str, ...]:
        """All values of a flag that takes several; empty when it is not given."""
        asked = full_name(flag)
        given = [option.values for option in self.options if option.flag == asked and not option.key]
        return given[-1] if given else ()

    def get(self, flag: str) -> str | None:
        """A flag's value; None when the flag is not given, or is a switch without a value."""
        return next(iter(self.values(flag)), None)

    def with_(self, flag: str, *values: str) -> EngineArguments:
        """The same command line with this flag at its end, in place of any earlier one."""
        return EngineArguments((*self.without(flag).argv, flag, *values))

    def without(self, *flags: str) -> EngineArguments:
        """The same command line without these flags and their values."""
        dropped = {full_name(flag) for flag in flags}
        return EngineArguments(word for option in self.options if option.flag not in dropped for word in option.words)

    def replace_values(self, replacements: Mapping[str, Callable[[str], str]]) -> EngineArguments:
        """The same command line with each value of the named flags replaced by what its function returns."""
        argv: list[str] = []
        for option in self.options:
            replace = None if option.key else replacements.get(option.flag)
            argv += option.words if replace is None else _replaced(option, replace)
        return EngineArguments(argv)


def is_flag(word: str) -> bool:
    """Whether argparse reads a word as a flag: it begins with a dash, and is no negative number and no sentence."""
    name = word.partition("=")[0]
    return name.startswith("-") and name != "-" and " " not in name and not NEGATIVE_NUMBER.fullmatch(word)


def full_name(flag: str) -> str:
    """A flag's long name with dashes."""
    return SHORT_FLAGS.get(flag) or (flag.replace("_", "-") if flag.startswith("--") else flag)


def _option(word: str) -> Option:
    if glued := GLUED.fullmatch(word):
        return Option(full_name(glued[1]), "", (glued[2],), (word,))
    name, equals, value = word.partition("=")
    flag, _, key = name.partition(".")
    return Option(full_name(flag), key, (value,) if equals else (), (word,))


def _replaced(option: Option, replace: Callable[[str], str]) -> list[str]:
    name, equals, value = option.words[0].partition("=")
    return [f"{name}={replace(value)}" if equals else name, *map(replace, option.words[1:])]
