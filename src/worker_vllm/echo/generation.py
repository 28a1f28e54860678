"""From a request to the engine steps that answer it; knows no route and no JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, cycle, groupby, repeat
from typing import NamedTuple

from worker_vllm.echo import tokens as vocabulary
from worker_vllm.echo.script import Script

FILLER = "."  # what an empty reply repeats when it must go on


@dataclass(frozen=True, slots=True)
class GenerationLimits:
    """When a sequence ends."""

    max_tokens: int
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    include_stop: bool = False


class Delta(NamedTuple):
    """What one engine step adds to one sequence. Text may lag behind the tokens while a stop string is possible."""

    sequence: int
    text: str
    tokens: tuple[int, ...]
    finish_reason: str | None = None
    stop_reason: str | None = None
    thought: bool = False  # the text is reasoning


@dataclass(frozen=True, slots=True)
class Generation:
    """One request: prompts, each answered by n sequences, all under the same limits and script."""

    prompts: tuple[tuple[int, ...], ...]
    replies: tuple[str, ...]  # of each prompt
    limits: GenerationLimits
    script: Script = field(default_factory=Script)
    n: int = 1
    separate_reasoning: bool = False  # the route has a place of its own for the script's reasoning

    @property
    def sequences(self) -> int:
        """How many answers this request has."""
        return len(self.prompts) * self.n

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(map(len, self.prompts))

    def deltas(self, index: int) -> Iterator[Delta]:
        """The steps of one sequence."""
        reply = self.script.text if self.script.text is not None else self.replies[index // self.n]
        if self.script.texts:
            reply = self.script.texts[index % self.n % len(self.script.texts)]
        thought = self.script.reasoning or ""
        if thought and not self.separate_reasoning:
            thought, reply = "", f"<think>{thought}</think>{reply}"
        return sequence(index, (thought, reply), self.limits)


def sequence(index: int, reply: tuple[str, str], limits: GenerationLimits) -> Iterator[Delta]:
    """One step per character, then one without text that counts as a token: the end token, as vLLM counts it.

    An answer that may not end yet (`ignore_eos`, `min_tokens`) starts over. A stop string is cut off unless asked
    for; text that may be the start of one is held back.
    """
    thought, text = reply
    hold = max(map(len, limits.stop), default=1) - 1
    held = ""
    endless = chain(zip(thought, repeat(True)), zip(chain(text, cycle(text or FILLER)), repeat(False)))
    length = len(thought) + len(text)
    for count, (character, thinking) in enumerate(endless, 1):
        if count > length and count > limits.min_tokens and not limits.ignore_eos:
            yield Delta(index, held, (vocabulary.END,), "stop")
            return
        held += character
        stopped = next((s for s in limits.stop if held.endswith(s)), None) if count > limits.min_tokens else None
        if stopped is not None:
            rest = held if limits.include_stop else held.removesuffix(stopped)
            yield Delta(index, rest, (ord(character),), "stop", stopped)
            return
        if count >= limits.max_tokens:
            yield Delta(index, held, (ord(character),), "length", thought=thinking)
            return
        ready = max(len(held) - hold, 0)
        yield Delta(index, held[:ready], (ord(character),), None, None, thinking)
        held = held[ready:]


def merged(deltas: Iterable[Delta]) -> list[Delta]:
    """Several steps as one, a delta for each sequence; thought and answer stay apart."""
    ordered = sorted(deltas, key=lambda delta: delta.sequence)
    return [_joined(list(part)) for _, part in groupby(ordered, key=lambda delta: (delta.sequence, delta.thought))]


def _joined(part: list[Delta]) -> Delta:
    tokens = tuple(token for delta in part for token in delta.tokens)
    return part[-1]._replace(text="".join(delta.text for delta in part), tokens=tokens)
