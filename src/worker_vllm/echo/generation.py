"""The engine steps that answer a request; independent of routes and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, cycle, groupby, repeat
from typing import NamedTuple

from worker_vllm.echo import tokens as vocabulary
from worker_vllm.echo.script import Script

FILLER = "."  # the reply's text where an empty reply must be continued


@dataclass(frozen=True, slots=True)
class GenerationLimits:
    """The conditions that end a sequence."""

    max_tokens: int
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    include_stop: bool = False


class Delta(NamedTuple):
    """What one engine step adds to one sequence. Text is held back while it may be the start of a stop string."""

    sequence: int
    text: str
    tokens: tuple[int, ...]
    finish_reason: str | None = None
    stop_reason: str | None = None
    reasoning: bool = False  # the text is reasoning


@dataclass(frozen=True, slots=True)
class Generation:
    """One request: prompts, each answered by n sequences, all under the same limits and script."""

    prompts: tuple[tuple[int, ...], ...]
    replies: tuple[str, ...]  # one per prompt
    limits: GenerationLimits
    script: Script = field(default_factory=Script)
    n: int = 1
    separate_reasoning: bool = False  # the route has a field of its own for reasoning
    request_id: str = ""

    @property
    def sequences(self) -> int:
        """The number of sequences that this request generates."""
        return len(self.prompts) * self.n

    @property
    def prompt_tokens(self) -> int:
        """The number of tokens of all prompts."""
        return sum(map(len, self.prompts))

    def deltas(self, index: int) -> Iterator[Delta]:
        """The steps of one sequence."""
        reply = self.script.text if self.script.text is not None else self.replies[index // self.n]
        if self.script.texts:
            reply = self.script.texts[index % self.n % len(self.script.texts)]
        reasoning = self.script.reasoning or ""
        if reasoning and not self.separate_reasoning:
            reasoning, reply = "", f"<think>{reasoning}</think>{reply}"
        return sequence(index, (reasoning, reply), self.limits)


def sequence(index: int, reply: tuple[str, str], limits: GenerationLimits) -> Iterator[Delta]:
    """One step per character, then one without text for the end token, which counts as in vLLM.

    A reply that must not end yet (`ignore_eos`, `min_tokens`) is repeated. A stop string is removed unless
    `include_stop`; text that may be the start of one is held back.
    """
    reasoning, text = reply
    hold = max(map(len, limits.stop), default=1) - 1
    held = ""
    endless = chain(zip(reasoning, repeat(True)), zip(chain(text, cycle(text or FILLER)), repeat(False)))
    length = len(reasoning) + len(text)
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
            yield Delta(index, held, (ord(character),), "length", reasoning=thinking)
            return
        ready = max(len(held) - hold, 0)
        yield Delta(index, held[:ready], (ord(character),), None, None, thinking)
        held = held[ready:]


def merge_deltas(deltas: Iterable[Delta]) -> list[Delta]:
    """Merge several steps into one: a delta per sequence, and one for its reasoning."""
    ordered = sorted(deltas, key=lambda delta: delta.sequence)
    return [_joined(list(part)) for _, part in groupby(ordered, key=lambda delta: (delta.sequence, delta.reasoning))]


def _joined(part: list[Delta]) -> Delta:
    tokens = tuple(token for delta in part for token in delta.tokens)
    return part[-1]._replace(text="".join(delta.text for delta in part), tokens=tokens)
