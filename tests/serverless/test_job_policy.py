"""What a job's `policy` allows it, however it is written."""

from __future__ import annotations

import json

import pytest

from worker_vllm.serverless.job_policy import DEFAULT_TTL_S, MAX_S, JobLimits, queue_delay_s


@pytest.mark.parametrize(
    ("policy", "limits"),
    [
        ('{"executionTimeout": 5000, "ttl": 60000}', JobLimits(5.0, 60.0)),
        ("{}", JobLimits(None, DEFAULT_TTL_S)),
        ("null", JobLimits(None, DEFAULT_TTL_S)),
        ('{"executionTimeout": "soon", "ttl": true}', JobLimits(None, DEFAULT_TTL_S)),
        ('{"executionTimeout": 0, "ttl": -1}', JobLimits(None, DEFAULT_TTL_S)),
        ('{"executionTimeout": 1%s}' % ("0" * 400), JobLimits(MAX_S, DEFAULT_TTL_S)),
        ('{"ttl": 1%s}' % ("0" * 400), JobLimits(None, MAX_S)),
        ('{"executionTimeout": 1e999, "ttl": 1e308}', JobLimits(MAX_S, MAX_S)),
        ('{"executionTimeout": -1%s, "ttl": NaN}' % ("0" * 400), JobLimits(None, DEFAULT_TTL_S)),
    ],
)
def test_every_number_is_a_limit_or_none(policy: str, limits: JobLimits) -> None:
    """The platform's longest is the longest; what is no number of milliseconds counts as not given."""
    assert JobLimits.of({"id": "a", "policy": json.loads(policy)}) == limits


@pytest.mark.parametrize(
    ("told", "delay_s"),
    [(2500, 2.5), (0, 0.0), (0.5, 0.0005), (-1, None), ("soon", None), (True, None), (None, None)],
)
def test_a_job_may_tell_its_queue_delay(told: object, delay_s: float | None) -> None:
    """In milliseconds; none at all is a delay too, what is no number is none that was told."""
    assert queue_delay_s({"id": "a", "delayTime": told}) == delay_s
    assert queue_delay_s({"id": "a"}) is None
