"""Native output items: engine answers and events in, `{"choices":[{"tokens":[…]}],"usage":{…}}` out.

Each of `shown` (finish_reason, logprobs …) stands beside the tokens where the engine has something to say about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker_vllm.jobs.output.batching import BatchCounter, BatchPolicy
from worker_vllm.json_bytes import dump

Entry = dict[str, Any]
SILENT: tuple[object, ...] = (None, "", [], {})


def whole_item(answer: Mapping[str, Any], shown: Sequence[str] = ()) -> bytes:
    """The one item of a job that does not stream, from a completions answer."""
    choices = sorted(answer.get("choices") or [{"index": 0}], key=lambda choice: int(choice.get("index", 0)))
    usage = answer.get("usage") or {}
    entries = []
    for choice in choices:
        entry: Entry = {"tokens": [choice.get("text") or ""]}
        _show(entry, choice, shown)
        entries.append(entry)
    return _item(entries, usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)


class ItemStream:
    """Turns completions events into items of the sizes that the batch policy asks for.

    An event holds one choice and, with `continuous_usage_stats`, that choice's own count so far; the job's count is
    the sum over its choices. An event is never split: it advances the counter by all the tokens it brought. Engines
    without that option count one token per piece of text, put right by the final usage.
    """

    def __init__(self, sequences: int, policy: BatchPolicy, shown: Sequence[str] = ()) -> None:
        self._counter = BatchCounter(policy)
        self._shown = shown
        self._pending: list[Entry] = [{"tokens": []} for _ in range(sequences)]
        self._is_pending = False
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
        return self._flush() if self._is_pending or self._reported != self._output else None

    def _take(self, choice: Mapping[str, Any], usage: Mapping[str, Any] | None) -> bool:
        index = choice.get("index", 0)
        text = choice.get("text") or ""
        before = self._counts[index]
        count = usage.get("completion_tokens") or 0 if usage else before + bool(text)
        self._counts[index] = count
        self._output += count - before
        if text or count > before:
            self._pending[index]["tokens"].append(text)
            self._is_pending = True
        if self._shown and _show(self._pending[index], choice, self._shown):
            self._is_pending = True
        return self._counter.add(count - before) if count > before else False

    def _flush(self) -> bytes:
        entries = self._pending
        self._pending = [{"tokens": []} for _ in entries]
        self._is_pending = False
        self._reported = self._output
        return _item(entries, self._input, self._output)


def _show(entry: Entry, choice: Mapping[str, Any], shown: Sequence[str]) -> bool:
    """Add what the choice says of `shown` to what the entry says already; whether it said anything."""
    said = {name: choice[name] for name in shown if choice.get(name) not in SILENT}
    for name, value in said.items():
        entry[name] = _joined(entry[name], value) if name in entry else value
    return bool(said)


def _joined(before: Any, after: Any) -> Any:
    """Lists and texts go on, objects key by key (log-probabilities are an object of lists), the rest is replaced."""
    if isinstance(before, dict) and isinstance(after, dict):
        return {key: _joined(before[key], after[key]) if key in before else after[key] for key in {**before, **after}}
    if isinstance(before, list) and isinstance(after, list):
        return before + after
    return before + after if isinstance(before, str) and isinstance(after, str) else after


def _item(entries: list[Entry], tokens_in: int, tokens_out: int) -> bytes:
    return dump({"choices": entries, "usage": {"input": tokens_in, "output": tokens_out}})
