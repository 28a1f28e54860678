"""Events in items of exactly the sizes asked for: the specification's schedule, counted in events."""

from __future__ import annotations

from collections.abc import Iterator

from worker_vllm.jobs import sse
from worker_vllm.jobs.batching import BatchCounter, BatchPolicy
from worker_vllm.jobs.jsontext import dump
from worker_vllm.jobs.output import Output


class EventBatches:
    """Items are the events' text (`raw`), or lists of their parsed values, of which `[DONE]` is none."""

    def __init__(self, policy: BatchPolicy, *, raw: bool) -> None:
        self._counter = BatchCounter(policy)
        self._raw = raw
        self._batch: list[bytes] = []

    def feed(self, run: bytes) -> Iterator[Output]:
        """Take in a run of whole events; yields the items that it completes."""
        for event in sse.events(run):
            if not self._raw and sse.data_of(event) == b"[DONE]":
                continue
            self._batch.append(event)
            if self._counter.add(1):
                yield self._flush()

    def finish(self) -> Iterator[Output]:
        """The last item, if anything is left for it."""
        if self._batch:
            yield self._flush()

    def _flush(self) -> Output:
        batch, self._batch = self._batch, []
        if self._raw:
            return Output(b"".join(batch), sse=True)
        return Output(dump([sse.parsed(event) for event in batch]))
