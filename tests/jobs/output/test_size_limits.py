"""The platform's size limits: what it would drop is refused before it is posted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_vllm.errors import RequestError
from worker_vllm.jobs.output import size_limits, sse
from worker_vllm.jobs.output.output import Output
from worker_vllm.jobs.output.size_limits import PIECE_BYTES, RESULT_BYTES, RUN_BYTES, ResultMeter, cut_run, wire_size


@given(st.text(alphabet=st.sampled_from('ab"\\\n\r🦜é'), max_size=200))
def test_the_size_on_the_wire_is_never_underestimated(text: str) -> None:
    data = text.encode()
    assert wire_size(Output(data, sse=True)) >= len(json.dumps(text, ensure_ascii=False).encode())
    assert wire_size(Output(data)) >= len(data)


def test_a_result_beyond_the_platforms_limit_is_refused() -> None:
    """Outputs that are not streamed are sent in the final result, which has a limit."""
    meter = ResultMeter()
    value = Output(b"x" * 900_000, streamed=False)
    for _ in range(RESULT_BYTES // 900_100):
        meter.add(value)
    with pytest.raises(RequestError) as refused:
        meter.add(value)
    assert refused.value.status == 413
    assert "20000000 bytes" in refused.value.message


def test_a_stream_has_no_limit_but_that_of_its_pieces() -> None:
    """The platform stores the pieces one by one and does not limit their sum."""
    meter = ResultMeter()
    piece = Output(b"x" * 900_000, sse=True)
    for _ in range(3 * RESULT_BYTES // 900_000):
        meter.add(piece)


def test_a_piece_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(RequestError) as refused:
        ResultMeter().add(Output(b"x" * (PIECE_BYTES + 1)))
    assert refused.value.status == 413
    ResultMeter().add(Output(b"x" * (PIECE_BYTES + 1), streamed=False))


@pytest.mark.parametrize("width", ["a", "é", "漢", "🦜"])
def test_a_large_run_is_cut_between_events_and_else_between_characters(width: str) -> None:
    """A single event larger than a piece is text like any other: its reader joins it."""
    small = [sse.event({"text": width * 1000}) for _ in range(200)]
    run = b"".join([*small, sse.event({"text": width * RUN_BYTES}), *small])
    parts = list(cut_run(run))
    assert b"".join(parts) == run
    assert all(len(part) <= RUN_BYTES for part in parts)
    assert all(wire_size(Output(part, sse=True)) <= PIECE_BYTES for part in parts)
    for part in parts:
        part.decode()
    assert parts[0].endswith(b"\n\n")


def test_a_run_of_quotes_alone_still_fits() -> None:
    assert size_limits.wire_size(Output(b'"' * RUN_BYTES, sse=True)) <= PIECE_BYTES
