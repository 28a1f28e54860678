"""Streams are cut on event boundaries only, in whatever chunks they arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_vllm.jobs.output import sse

TEXTS = st.text(alphabet=st.characters(codec="utf-8"), max_size=30)


@st.composite
def split_streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A stream of events, and the same bytes in arbitrary pieces."""
    stream = b"".join(sse.event({"text": text}) for text in draw(st.lists(TEXTS, max_size=8))) + sse.DONE
    if draw(st.booleans()):
        stream = stream.replace(b"\n\n", b"\r\n\r\n")
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    return stream, [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@given(split_streams())
def test_any_split_gives_the_same_bytes_in_complete_events(case: tuple[bytes, list[bytes]]) -> None:
    """UTF-8 of any width survives any chunking."""
    stream, pieces = case
    framer = sse.Framer()
    runs = [run for piece in pieces if (run := framer.feed(piece))]
    assert b"".join(runs) == stream
    assert framer.rest == b""
    for run in runs:
        run.decode()
        assert run.endswith((b"\n\n", b"\r\n\r\n"))
        assert all(sse.parsed(event) or sse.data_of(event) == b"[DONE]" for event in sse.events(run))


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (b": ping\n\n", b""),
        (b": ping\n\ndata: 1\n\n", b"data: 1\n\n"),
        (b"data: 1\n\n:\n\n", b"data: 1\n\n"),
        (b"event: a\n: ping\ndata: 1\n\n", b"event: a\ndata: 1\n\n"),
        (b"data: 1\n\n", b"data: 1\n\n"),
    ],
)
def test_comments_are_not_output(run: bytes, expected: bytes) -> None:
    assert (sse.without_comments(run) if sse.has_comment(run) else run) == expected


ERROR = b'data: {"error":{"message":"no","code":500}}\n\n'


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (ERROR + sse.DONE, (b"", ERROR, {"message": "no", "code": 500})),
        (b'data: {"a":1}\n\n' + ERROR, (b'data: {"a":1}\n\n', ERROR, {"message": "no", "code": 500})),
        (
            b'event: error\ndata: {"type":"error","error":{"type":"x","message":"no"}}\n\n',
            (
                b"",
                b'event: error\ndata: {"type":"error","error":{"type":"x","message":"no"}}\n\n',
                {"type": "x", "message": "no"},
            ),
        ),
        (
            b'event: error\ndata: {"type":"error","message":"no","code":"x"}\n\n',
            (
                b"",
                b'event: error\ndata: {"type":"error","message":"no","code":"x"}\n\n',
                {"message": "no", "code": "x", "param": None},
            ),
        ),
        (b'data: {"response":{"error":null}}\n\n', None),
        (sse.event({"text": 'data: {"error":{"message":"quoted"}}'}), None),
    ],
    ids=["openai", "after others", "anthropic", "responses", "a field that is null", "quoted in a text"],
)
def test_an_error_is_found_where_it_is_reported(
    run: bytes, expected: tuple[bytes, bytes, dict[str, object]] | None
) -> None:
    """What comes before it, and the event; a text that quotes one is no error."""
    assert (sse.cut_at_error(run) if sse.may_hold_error(run) else None) == expected
