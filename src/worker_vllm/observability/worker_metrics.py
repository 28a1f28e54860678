"""The worker's metrics as prometheus-client's objects, made from the declarations in `metric_names`.

Most values are written once, when a job ends, so that a token costs nothing. Values that others own (the window of
admission, the engine's state) are read when metrics are collected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker_vllm import __version__
from worker_vllm.observability import metric_names as names
from worker_vllm.observability.job_record import JobRecord, Traffic
from worker_vllm.observability.metric_names import Metric as Declared
from worker_vllm.observability.metric_names import Served

EXEMPLAR_LENGTH = 128  # OpenMetrics' limit for the names and values of an exemplar's labels together


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """Functions that return facts of the engine: state, ends by cause, the last start's phases and duration."""

    state: Callable[[], str]
    states: tuple[str, ...]
    ends: Callable[[], Mapping[str, int]]
    phases: Callable[[], Iterable[tuple[str, float]]]
    start_s: Callable[[], float]


class WorkerMetrics:
    """All metrics of one worker. `job_ended` is a sink of the ledger."""

    def __init__(self, mode: Served, traffic: Traffic, engine: EngineFacts) -> None:
        self.registry = registry = CollectorRegistry()
        self._jobs = _counter(names.JOBS, registry)
        self._duration = _histogram(names.JOB_DURATION, registry)
        self._queue_delay = _histogram(names.JOB_QUEUE_DELAY, registry)
        self._engine_wait = _histogram(names.JOB_ENGINE_WAIT, registry)
        self._first_token = _histogram(names.JOB_FIRST_TOKEN, registry)
        self._inter_token = _histogram(names.JOB_INTER_TOKEN, registry)
        self._prompt = _counter(names.PROMPT_TOKENS, registry)
        self._cached = _counter(names.CACHED_TOKENS, registry)
        self._completion = _counter(names.COMPLETION_TOKENS, registry)
        self._cancels = _counter(names.CANCELS, registry)
        self.engine_retries = _counter(names.ENGINE_RETRIES, registry) if mode is Served.QUEUE else None
        registry.register(EngineCollector(engine))
        if mode is Served.QUEUE:
            registry.register(TrafficCollector(traffic))
        info = Gauge(names.INFO.name, names.INFO.help, names.INFO.labels, registry=registry)
        info.labels(__version__, "queue" if mode is Served.QUEUE else "http").set(1)

    def publish(self, gauges: Mapping[Declared, Callable[[], float]]) -> None:
        """Add gauges whose values are read at each collection."""
        for declared, read in gauges.items():
            Gauge(declared.name, declared.help, registry=self.registry).set_function(read)

    def job_ended(self, record: JobRecord) -> None:
        """Count a job that is over. Its id, and its trace's, are the exemplar of what it adds to."""
        exemplar = exemplar_of(record)
        self._jobs.labels(record.kind, record.route, record.outcome).inc(exemplar=exemplar)
        tokens = record.tokens
        self._prompt.inc(tokens.prompt)
        self._cached.inc(tokens.cached)
        self._completion.inc(tokens.completion)
        if record.cancelled_by is not None:
            self._cancels.labels(record.cancelled_by).inc(exemplar=exemplar)
        for histogram, value in (
            (self._duration, record.duration_s),
            (self._queue_delay, record.queue_delay_s),
            (self._engine_wait, record.engine_wait_s),
            (self._first_token, record.first_token_s),
            (self._inter_token, record.inter_token_s),
        ):
            if value is not None:
                histogram.labels(record.route).observe(value, exemplar)

    def engine_refused(self) -> None:
        """The engine's queue was full, and the request is sent again."""
        if self.engine_retries is not None:
            self.engine_retries.inc()


class TrafficCollector(Collector):
    """The POSTs to the platform, which are counted as plain numbers."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def collect(self) -> Iterator[Metric]:
        """The three counters."""
        traffic = self._traffic
        for declared, values in (
            (names.POSTS, traffic.posts),
            (names.POSTED_BYTES, traffic.size),
            (names.POST_RETRIES, traffic.repeated),
        ):
            yield _counted(declared, values)


class EngineCollector(Collector):
    """State, ends and last start of the engine."""

    def __init__(self, facts: EngineFacts) -> None:
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        """The engine's gauges and its counter of ends."""
        facts = self._facts
        now = facts.state()
        yield _labelled(names.ENGINE_STATE, {state: float(state == now) for state in facts.states})
        yield _counted(names.ENGINE_RESTARTS, facts.ends())
        phases: dict[str, float] = {}
        for phase, took_s in facts.phases():
            phases[phase] = phases.get(phase, 0.0) + took_s
        yield _labelled(names.ENGINE_START_PHASE, phases)
        yield GaugeMetricFamily(names.ENGINE_START.name, names.ENGINE_START.help, value=facts.start_s())


def exemplar_of(record: JobRecord) -> dict[str, str]:
    """The labels that lead from a sample to the job and to its trace; the job's id only where it fits."""
    found = {} if record.trace is None or not record.trace.sampled else {"trace_id": record.trace.trace_id}
    length = sum(len(name) + len(value) for name, value in found.items())
    if length + len("job_id") + len(record.job_id) <= EXEMPLAR_LENGTH:
        found["job_id"] = record.job_id
    return found


def _counter(declared: Declared, registry: CollectorRegistry) -> Counter:
    return Counter(declared.name, declared.help, declared.labels, registry=registry)


def _histogram(declared: Declared, registry: CollectorRegistry) -> Histogram:
    return Histogram(declared.name, declared.help, declared.labels, registry=registry, buckets=declared.buckets)


def _counted(declared: Declared, values: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(declared.name, declared.help, labels=declared.labels)
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _labelled(declared: Declared, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(declared.name, declared.help, labels=declared.labels)
    for label, value in values.items():
        family.add_metric([label], value)
    return family
