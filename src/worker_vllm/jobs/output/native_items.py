"""Native output items: completions responses and events in, `{"choices":[{"tokens":[…]}],"usage":{…}}` out.

`shown` lists the fields (finish_reason, logprobs …) that are copied beside the tokens where the engine sets them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker_vllm.jobs.output.batching import BatchCounter, BatchPolicy
from worker_vllm.json_bytes import dump

Entry = dict[str, Any]
EMPTY: tuple[object, ...] = (None, "", [], {})


def single_item(answer: Mapping[str, Any], shown: Sequence[str] = ()) -> bytes:
    """The only item of a job that does not stream, from a completions response."""
    choices = sorted(answer.get("choices") or [{"index": 0}], key=lambda choice: int(choice.get("index", 0)))
    usage = answer.get("usage") or {}
    entries = []
    for choice in choices:
        entry: Entry = {"tokens": [choice.get("text") or ""]}
        _copy_shown(entry, choice, shown)
        entries.append(entry)
    return _item(entries, usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0)


class ItemStream:
    """Turns completions events into items whose sizes follow the batch policy.

    An event has one choice and, with `continuous_usage_stats`, that choice's token count so far; the job's count is
    the sum over its choices. An event is never split: the counter advances by all of its tokens. Without that option
    each piece of text counts as one token, and the final usage corrects the sum.
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
        """Add one event. Yields the items that it completes."""
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
        """The last item: pending tokens, or a count corrected by the final usage. None when there is neither."""
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
        if self._shown and _copy_shown(self._pending[index], choice, self._shown):
            self._is_pending = True
        return self._counter.add(count - before) if count > before else False

    def _flush(self) -> bytes:
        entries = self._pending
        self._pending = [{"tokens": []} for _ in entries]
        self._is_pending = False
        self._reported = self._output
        return _item(entries, self._input, self._output)


def _copy_shown(entry: Entry, choice: Mapping[str, Any], shown: Sequence[str]) -> bool:
    """Add the choice's `shown` fields to the entry. Returns whether the choice has any."""
    found = {name: choice[name] for name in shown if choice.get(name) not in EMPTY}
    for name, value in found.items():
        entry[name] = _merge(entry[name], value) if name in entry else value
    return bool(found)


def _merge(before: Any, after: Any) -> Any:
    """Lists and texts concatenated, objects (of lists, for logprobs) merged by key; for other types, `after`."""
    if isinstance(before, dict) and isinstance(after, dict):
        return {key: _merge(before[key], after[key]) if key in before else after[key] for key in {**before, **after}}
    if isinstance(before, list) and isinstance(after, list):
        return before + after
    return before + after if isinstance(before, str) and isinstance(after, str) else after


def _item(entries: list[Entry], tokens_in: int, tokens_out: int) -> bytes:
    return dump({"choices": entries, "usage": {"input": tokens_in, "output": tokens_out}})
