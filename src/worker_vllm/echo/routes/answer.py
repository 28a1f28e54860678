"""Common parts of all routes' responses: id, usage, log-probabilities, and the interface of a response format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring
from typing import Any, Protocol

from worker_vllm.echo import tokens as vocabulary
from worker_vllm.echo.generation import Delta, Generation
from worker_vllm.echo.http_messages import dump, error_body
from worker_vllm.errors import WorkerError

FINGERPRINT = "vllm-0.32.0-echo"
DONE = b"data: [DONE]\n\n"


class Dialect(Protocol):
    """The response format of one route; methods that return bytes return complete server-sent events."""

    def opening(self) -> bytes:
        """The events before the first token, sent together with it."""

    def event(self, delta: Delta) -> bytes:
        """The event of one sequence's step."""

    def closing(self) -> bytes:
        """The events after the last token."""

    def failure(self, error: WorkerError) -> bytes:
        """The events of an engine error in the middle of a stream."""

    def full_response(self, deltas: Sequence[Delta]) -> dict[str, Any]:
        """The response without streaming, from one merge_deltas delta per sequence."""


@dataclass(slots=True)
class Answer:
    """The id and model name of a response, and its token counts so far."""

    id: str
    created: int
    model: str
    generation: Generation
    made: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.made = [0] * self.generation.sequences

    def count(self, delta: Delta) -> int:
        """Add a step; returns the sequence's tokens so far."""
        self.made[delta.sequence] += len(delta.tokens)
        return self.made[delta.sequence]

    def chunk(self, kind: str, choices: list[Any]) -> dict[str, Any]:
        """An OpenAI response object or chunk with these choices."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}

    def plain_head(self, kind: str) -> str:
        """An event's text up to the index of its choice, for events that are formatted without building objects."""
        head = f'data: {{"id":"{self.id}","object":"{kind}","created":{self.created},"model":'
        return f'{head}{encode_basestring(self.model)},"choices":[{{"index":'

    def last_event(self, kind: str, *, include_usage: bool) -> bytes:
        """The end of an OpenAI stream, after a usage chunk with `include_usage`."""
        if not include_usage:
            return DONE
        final = {**self.chunk(kind, []), "usage": self.usage(), "system_fingerprint": FINGERPRINT}
        return data(final) + DONE

    def prompt_of(self, index: int) -> tuple[int, ...]:
        """The prompt of a sequence."""
        return self.generation.prompts[index // self.generation.n]

    def usage(self) -> dict[str, Any]:
        """Usage of the whole request so far."""
        return usage(self.generation.prompt_tokens, sum(self.made))

    def logprob(self, index: int) -> float:
        """The scripted log-probability of each token of a sequence."""
        values = self.generation.script.logprob
        return values[min(index % self.generation.n, len(values) - 1)]


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """vLLM's usage object, keys in its order."""
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


def full_usage(answer: Answer) -> dict[str, Any]:
    """Usage as in responses without streaming: with empty details."""
    return {**answer.usage(), "prompt_tokens_details": None, "completion_tokens_details": None}


def alternatives(token: int, logprob: float, count: int) -> list[tuple[str, float]]:
    """The most likely tokens of a step: the chosen one, then code points from `!`, each less likely by 1."""
    words = [vocabulary.decode([token], markers=True)]
    words += [vocabulary.decode([rank], markers=True) for rank in range(0x21, 0x21 + count) if rank != token]
    return [(word, logprob - rank) for rank, word in enumerate(words[: max(count, 1)])]


def data(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + dump(value) + b"\n\n"


def named(kind: str, value: Any) -> bytes:
    """One server-sent event with its `event:` line."""
    return b"event: " + kind.encode() + b"\n" + data(value)


def failure_event(error: WorkerError) -> bytes:
    """An error event of an OpenAI stream, and the end of the stream."""
    return data(error_body(error.status, error.message, "InternalServerError")) + DONE
