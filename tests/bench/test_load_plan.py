"""The requests of a round are the same for every target and another round's are others."""

from __future__ import annotations

import pytest

from worker_vllm.bench.load_plan import LoadPlan, planned_requests
from worker_vllm.simulation.arrivals import FixedLength, LogNormalLength, UniformLength, parse_lengths

PLAN = LoadPlan(20, 4, None, FixedLength(8), UniformLength(5, 9))


def test_a_round_is_the_same_for_every_target() -> None:
    """The same seed and round: the same prompts and lengths; no two prompts begin alike."""
    first = planned_requests(PLAN, 1)
    assert first == planned_requests(PLAN, 1)
    assert first != planned_requests(PLAN, 2)
    assert {len(request.prompt.split()) for request in first} == {8}
    assert {request.output_tokens for request in first} <= set(range(5, 10))
    assert len({request.prompt.split()[0] for request in first}) == len(first)
    assert {request.at_s for request in first} == {0.0}


def test_an_open_loop_has_moments() -> None:
    """Arrivals at the rate, in order."""
    moments = [
        request.at_s for request in planned_requests(LoadPlan(4000, 4, 50.0, FixedLength(2), FixedLength(1)), 1)
    ]
    assert moments == sorted(moments)
    assert moments[-1] == pytest.approx(4000 / 50, rel=0.1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("128", FixedLength(128)),
        ("16-512", UniformLength(16, 512)),
        ("lognormal:200:0.8:4096", LogNormalLength(200, 0.8, 4096)),
        *((bad, None) for bad in ("", "0", "-3", "9-3", "1-2-3", "many", "lognormal:200", "lognormal:0:1:5")),
    ],
)
def test_lengths_are_read_or_refused(text: str, expected: object) -> None:
    """A count, a range, a log-normal distribution."""
    if expected is not None:
        assert parse_lengths(text) == expected
        return
    with pytest.raises(ValueError, match="expected a count"):
        parse_lengths(text)
