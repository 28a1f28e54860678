"""A target is read from its URL; one that cannot be asked is refused with what is expected."""

from __future__ import annotations

import pytest

from worker_vllm.bench.targets import BenchTarget, TargetKind, parse_target


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://h:8/v1", BenchTarget("A", TargetKind.OPENAI, "http://h:8/v1")),
        ("plain=http://h:8/v1/", BenchTarget("plain", TargetKind.OPENAI, "http://h:8/v1")),
        ("http://h/v2/ep/openai/v1", BenchTarget("A", TargetKind.OPENAI, "http://h/v2/ep/openai/v1")),
        ("jobs=https://h/v2/ep", BenchTarget("jobs", TargetKind.JOBS, "https://h/v2/ep")),
        ("unix:/run/e.sock", BenchTarget("A", TargetKind.OPENAI, "http://engine/v1", socket="/run/e.sock")),
        ("http://h/v1?a=b", "expected a URL ending with /v1"),
        ("h:8000/v1", "expected NAME=URL with http://, https:// or unix:"),
        ("ftp://h/v1", "expected NAME=URL with http://, https:// or unix:"),
        ("http://h:8/", "expected a URL ending with /v1 (OpenAI routes) or /v2/ENDPOINT_ID (RunPod jobs)"),
    ],
)
def test_a_target_is_its_url(text: str, expected: BenchTarget | str) -> None:
    """The path decides between OpenAI routes and RunPod jobs."""
    if isinstance(expected, BenchTarget):
        assert parse_target(text, 0) == expected
        return
    with pytest.raises(ValueError, match="target") as caught:
        parse_target(text, 0)
    assert expected in str(caught.value)


def test_a_key_is_not_in_a_targets_text() -> None:
    """What is printed of a target holds no secret."""
    assert "secret" not in repr(parse_target("http://h/v1", 0, "m", "secret"))
