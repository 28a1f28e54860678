"""The engine's Prometheus text: the one parser of samples, and what is read out of them."""

from __future__ import annotations

import pytest

from worker_vllm.engine.client.metrics import Progress, parse_load, parse_progress, samples
from worker_vllm.engine.interface import EngineLoad


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("a 1", [("a", 1.0)]),
        ("a:b_c 1.5", [("a:b_c", 1.5)]),
        ('a{x="1",y="2"} 3.0', [("a", 3.0)]),
        ('a{x="}"} 3', [("a", 3.0)]),
        ("a 1e+06", [("a", 1e6)]),
        ("a -2.5e-03", [("a", -0.0025)]),
        ("a 1 1700000000000", [("a", 1.0)]),
        ("a NaN", []),
        ("a +Inf", []),
        ("# HELP a 1", []),
        ("", []),
    ],
)
def test_samples(line: str, found: list[tuple[str, float]]) -> None:
    """A name, optional labels, a number, an optional time."""
    assert list(samples(f"first 0\n{line}\nlast 0\n")) == [("first", 0.0), *found, ("last", 0.0)]


@pytest.mark.parametrize(
    ("text", "load"),
    [
        ("vllm:num_requests_running 2\nvllm:num_requests_waiting 1\n", EngineLoad(2, 1, 0.0)),
        (
            'vllm:num_requests_running{engine="0"} 2.0\nvllm:num_requests_running{engine="1"} 3.0\n'
            'vllm:num_requests_waiting{engine="0"} 0.0\nvllm:num_requests_waiting{engine="1"} 4.0\n'
            'vllm:kv_cache_usage_perc{engine="0"} 0.25\nvllm:kv_cache_usage_perc{engine="1"} 0.5\n',
            EngineLoad(5, 4, 0.5),
        ),
        ("vllm:num_requests_running 2\n", None),
        ("vllm:num_requests_running_total 2\nvllm:num_requests_waiting 1\n", None),
        ("", None),
    ],
)
def test_the_load(text: str, load: EngineLoad | None) -> None:
    """Sums over the replicas, and the fullest one's cache."""
    assert parse_load(text) == load


def test_the_progress() -> None:
    """Counters of the core, summed over the replicas; the others are left out."""
    text = 'vllm:prompt_tokens_total{engine="0"} 2\nvllm:prompt_tokens_total{engine="1"} 3\nprocess_cpu_seconds 9\n'
    assert parse_progress(text) == Progress((("vllm:prompt_tokens_total", 5.0),))
