"""Native output items: engine answers and events in, `{"choices":[{"tokens":[…]}],"usage":{…}}` out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from worker_vllm.jobs.batching import BatchCounter, BatchPolicy
from worker_vllm.jobs.jsontext import dump


def whole_item(answer: Mapping[str, Any]) -> bytes:
    """The one item of a job that does not stream, from a completions answer."""
    choices = sorted(answer.get("choices") or [{"index": 0}], key=lambda choice: int(choice.get("index", 0)))
    usage = answer.get("usage") or {}
    return _item(
        [{"tokens": [choice.get("text") or ""]} for choice in choices],
        usage.get("prompt_tokens") or 0,
        usage.get("completion_tokens") or 0,
    )


class ItemStream:
    """Turns completions events into items of the sizes that the batch policy asks for.

    An event holds one choice and, with `continuous_usage_stats`, that choice's own count so far; the job's count is
    the sum over its choices. An event is never split: it advances the counter by all the tokens it brought. Engines
    without that option count one token per piece of text, put right by the final usage.
    """

    def __init__(self, sequences: int, policy: BatchPolicy) -> None:
        self._counter = BatchCounter(policy)
        self._pending: list[list[str]] = [[] for _ in range(sequences)]
        self._counts = [0] * sequences
        self._input = 0
        self._output = 0
        self._reported = 0

    def feed(self, event: Mapping[str, Any]) -> Iterator[bytes]:
        """Take in one event; yields the items that it completes."""
        usage = event.get("usage")
        choices = event.get("choices")
        if usage:
            self._input = usage.get("prompt_tokens") or self._input
            if not choices:
                self._output = usage.get("completion_tokens") or self._output
        for choice in choices or ():
            if self._take(choice, usage):
                yield self._flush()

    def finish(self) -> bytes | None:
        """The last item: what is still pending, or a count that the final usage has put right; else None."""
        if self._counter.count or any(self._pending) or self._reported != self._output:
            return self._flush()
        return None

    def _take(self, choice: Mapping[str, Any], usage: Mapping[str, Any] | None) -> bool:
        index = choice.get("index", 0)
        text = choice.get("text") or ""
        before = self._counts[index]
        count = usage.get("completion_tokens") or 0 if usage else before + bool(text)
        self._counts[index] = count
        self._output += count - before
        if text or count > before:
            self._pending[index].append(text)
        return self._counter.add(count - before) if count > before else False

    def _flush(self) -> bytes:
        choices = [{"tokens": tokens} for tokens in self._pending]
        self._pending = [[] for _ in self._pending]
        self._reported = self._output
        return _item(choices, self._input, self._output)


def _item(choices: list[dict[str, Any]], tokens_in: int, tokens_out: int) -> bytes:
    return dump({"choices": choices, "usage": {"input": tokens_in, "output": tokens_out}})
