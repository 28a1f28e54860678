"""Rows with revisions, traces of jobs, points of plots, figures of workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from worker_vllm.console.deploy.validation_report import field_of, fields_in
from worker_vllm.console.jobs.job_history import Delays, JobHistory
from worker_vllm.console.jobs.job_rows import JobRows
from worker_vllm.console.jobs.job_view import describe_input
from worker_vllm.console.workers.sampler import EndpointSeries
from worker_vllm.console.workers.scraped_metrics import WorkerFigures, parse_figures
from worker_vllm.console.workers.worker_tracks import slot_of
from worker_vllm.gateway.state.job import Job, Piece, Status, Submission


@dataclass(slots=True)
class Clock:
    """A clock that a test sets."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def new_job(job_id: str, text: bytes = b'{"prompt": "hi"}') -> Job:
    """A queued job."""
    return Job(job_id, Submission(text, sync=False, execution_timeout_s=600, ttl_s=600), created=0.0)


def same(at: float) -> float:
    """The wall clock of these tests."""
    return at


def followed(jobs: dict[str, Job]) -> tuple[JobHistory, Clock]:
    clock = Clock()
    return JobHistory(jobs.get, clock), clock


def refreshed(
    rows: JobRows, jobs: dict[str, Job], history: JobHistory
) -> Callable[[int], tuple[list[str], list[str]]]:
    """The ids that changed and the keys that went since a revision, after a refresh."""
    rows.refresh("e", jobs, history)

    def since(revision: int) -> tuple[list[str], list[str]]:
        found = rows.since(revision)
        return [row["id"] for row in found["changed"]], found["removed"]

    return since


def test_a_reader_gets_what_changed_after_its_revision() -> None:
    """New rows, changed rows, removed rows; nothing while nothing happens."""
    jobs = {"a": new_job("a"), "b": new_job("b")}
    history, _ = followed(jobs)
    rows = JobRows(same)
    assert refreshed(rows, jobs, history)(0) == (["a", "b"], [])
    first = rows.revision
    assert refreshed(rows, jobs, history)(first) == ([], [])
    assert rows.revision == first
    jobs["a"].status = Status.IN_PROGRESS
    history.taken(jobs["a"])
    assert refreshed(rows, jobs, history)(first) == (["a"], [])
    second = rows.revision
    del jobs["b"]
    history.changed("b")
    assert refreshed(rows, jobs, history)(second) == ([], ["e/b"])
    assert refreshed(rows, jobs, history)(0)[0] == ["a"]


def test_pieces_are_counted_with_the_times_of_the_first_and_the_last() -> None:
    """Pieces that a client has read already are gone from the job, not from its trace; a progress is no piece."""
    jobs = {"a": new_job("a")}
    history, clock = followed(jobs)
    jobs["a"].status = Status.IN_PROGRESS
    history.taken(jobs["a"])
    for clock.now in (1.0, 2.0, 4.0):
        jobs["a"].pieces.append(Piece("x", 1))
        history.changed("a")
        jobs["a"].pieces.clear()
        history.changed("a")
    trace = history.trace("a")
    assert (trace.pieces, trace.first_piece, trace.last_piece) == (3, 1.0, 4.0)


def test_delays_are_taken_once() -> None:
    """The time in the queue and the time to the first piece, for one point of the plots."""
    jobs = {"a": new_job("a")}
    history, clock = followed(jobs)
    clock.now = 3.0
    jobs["a"].started = 3.0
    history.taken(jobs["a"])
    clock.now = 3.5
    jobs["a"].pieces.append(Piece("x", 1))
    history.changed("a")
    assert history.take_delays() == Delays([3.0], [0.5])
    assert history.take_delays() == Delays()


@pytest.mark.parametrize(
    ("text", "kind", "preview"),
    [
        (b'{"prompt": "hi"}', "native", "hi"),
        (b'{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}', "native", "b"),
        (
            b'{"openai_route": "/v1/chat/completions", "openai_input": {"messages": [{"role": "user", "content": '
            b'[{"type": "text", "text": "see"}, {"type": "image_url"}]}]}}',
            "chat/completions",
            "see ",
        ),
        (b'{"openai_route": "/v1/models"}', "models", ""),
        (b'{"anything": 1}', "native", '{"anything":1}'),
        (b"[1]", "job", "[1]"),
        (b'"' + b"x" * 300_000, "job", '"' + "x" * 119),
    ],
)
def test_a_row_says_what_was_asked(text: bytes, kind: str, preview: str) -> None:
    """The route or `native`, and the beginning of the last message."""
    assert describe_input(text) == (kind, preview)


def test_a_point_has_rates_since_the_last_one() -> None:
    """Jobs and tokens per second; a worker that was not there before adds no tokens."""
    series = EndpointSeries()
    series.add(1.0, 1.0, 10, Delays(), {"w1": WorkerFigures(64, 0.5, 100)})
    series.add(
        3.0, 2.0, 14, Delays([1.0, 3.0], [0.2]), {"w1": WorkerFigures(64, 0.5, 300), "w2": WorkerFigures(8, 0.1, 50)}
    )
    assert series.since(1) == [
        {
            "at": 3.0,
            "jobs_per_s": 2.0,
            "queue_delay_s": 2.0,
            "first_piece_s": 0.2,
            "tokens_per_s": 100.0,
            "window": 72,
            "kv_used": 0.3,
        }
    ]
    assert series.since(2) == []


def test_without_jobs_the_requests_that_workers_counted_stand_in() -> None:
    """Of a load-balancing endpoint; a worker that was replaced counts from its second point on."""
    series = EndpointSeries()
    series.add(1.0, 1.0, None, Delays(), {"w1": WorkerFigures(None, 0.5, 100, 10)})
    series.add(2.0, 1.0, None, Delays(), {"w1": WorkerFigures(None, 0.5, 130, 14), "w2": WorkerFigures(ended=90)})
    series.add(3.0, 1.0, None, Delays(), {"w2": WorkerFigures(ended=92)})
    assert [(point["jobs_per_s"], point["tokens_per_s"]) for point in series.since(0)] == [
        (None, None),
        (4.0, 30.0),
        (2.0, None),
    ]


def test_figures_are_read_from_metrics() -> None:
    """Samples of one name are added; others and broken ones are skipped."""
    tokens = "vllm:generation_tokens_total"
    text = f'worker_jobs_window 64.0\n{tokens}{{engine="0"}} 5\n{tokens}{{engine="1"}} 6\n'
    assert parse_figures(text + "vllm:kv_cache_usage_perc{a} x\nother 1\n") == WorkerFigures(64.0, None, 11.0)


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("MAX_MODEL_LEN", "MAX_MODEL_LEN"),
        ("--max-model-len", "MAX_MODEL_LEN"),
        ("NO_SUCH_NAME", None),
        ("line 3", None),
    ],
)
def test_a_problems_key_leads_to_its_field(key: str, field: str | None) -> None:
    """By the variable or the flag."""
    assert field_of(key) == field


def test_a_diagnosis_leads_to_the_fields_that_it_names() -> None:
    """Each once, in its order; other words in capitals are none."""
    text = "CUDA is out of memory: lower GPU_MEMORY_UTILIZATION or --max-model-len, GPU_MEMORY_UTILIZATION first"
    assert fields_in(text) == ["GPU_MEMORY_UTILIZATION", "MAX_MODEL_LEN"]


@pytest.mark.parametrize(("worker", "slot"), [("worker-1", "worker-1"), ("worker-1-2", "worker-1"), ("pod", "pod")])
def test_a_worker_and_its_successors_share_a_slot(worker: str, slot: str) -> None:
    """`worker-1-2` follows `worker-1`."""
    assert slot_of(worker) == slot
