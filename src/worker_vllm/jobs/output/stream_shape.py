"""How the events of a stream become outputs: unchanged, or in batches of exactly the configured sizes."""

from __future__ import annotations

from typing import Protocol

from worker_vllm.jobs.output import sse
from worker_vllm.jobs.output.batching import BatchCounter, BatchPolicy
from worker_vllm.jobs.output.output import Output
from worker_vllm.jobs.output.size_limits import RUN_BYTES, cut_run
from worker_vllm.json_bytes import dump


class StreamShape(Protocol):
    """Turns runs of complete events into outputs."""

    def feed(self, run: bytes) -> list[Output]:
        """The outputs that the run completes."""

    def finish(self) -> list[Output]:
        """The last output; empty when no event is pending."""


class PassThrough:
    """Passes each run on at once. Job delivery merges the outputs that have to wait."""

    def feed(self, run: bytes) -> list[Output]:
        """The run, in parts when it is too large for one piece."""
        if len(run) <= RUN_BYTES:
            return [Output(run, sse=True, mergeable=True)]
        return [Output(part, sse=True, mergeable=True) for part in cut_run(run)]

    def finish(self) -> list[Output]:
        """Always empty: no event is held."""
        return []


class FixedBatches:
    """The specification's batch sizes, counted in events.

    With `raw` an item is the events' text, otherwise a list of their parsed values without `[DONE]`.
    """

    def __init__(self, policy: BatchPolicy, *, raw: bool) -> None:
        self._counter = BatchCounter(policy)
        self._raw = raw
        self._batch: list[bytes] = []

    def feed(self, run: bytes) -> list[Output]:
        """The batches that the run's events complete."""
        outputs = []
        for event in sse.events(run):
            if not self._raw and sse.data_of(event) == b"[DONE]":
                continue
            self._batch.append(event)
            if self._counter.add(1):
                outputs.append(self._flush())
        return outputs

    def finish(self) -> list[Output]:
        """The last batch; empty when no event is pending."""
        return [self._flush()] if self._batch else []

    def _flush(self) -> Output:
        batch, self._batch = self._batch, []
        if self._raw:
            return Output(b"".join(batch), sse=True)
        return Output(dump([sse.parsed(event) for event in batch]))
