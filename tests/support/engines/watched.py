"""Gateway and worker as processes on an engine, with every request of the worker to the platform recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.support.attached import gateway_process, worker_environment, worker_process
from tests.support.engines.recorder import Recorder, recording


@dataclass(frozen=True, slots=True)
class Watched:
    """A gateway with one worker on an engine that is running already."""

    url: str  # the endpoint: http://host:port/v2/local
    engine_url: str
    recorder: Recorder

    def longest_silence(self, since: float, until: float) -> float:
        """The longest time in seconds without a heartbeat between two moments of the monotonic clock."""
        beats = [ping.at for ping in self.recorder.of("ping") if since < ping.at < until]
        return max(after - before for before, after in pairwise([since, *beats, until]))


@contextlib.contextmanager
def watched(engine_url: str) -> Iterator[Watched]:
    """Attach a worker to this engine; it sends a heartbeat every second."""
    with gateway_process() as url, recording(url) as recorder:
        environment = {**worker_environment(recorder.url, "w1"), "ENGINE_URL": engine_url, "DRAIN_TIMEOUT": "2"}
        with worker_process(environment):
            yield Watched(url, engine_url, recorder)
