"""A stream read in any chunks and sent in any batches contains the same events."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_vllm.errors import EngineError
from worker_vllm.jobs.output import sse
from worker_vllm.jobs.output.batching import BatchPolicy
from worker_vllm.jobs.output.sse_relay import EventRelay
from worker_vllm.jobs.output.stream_shape import FixedBatches, PassThrough, StreamShape
from worker_vllm.jobs.request.routes import CHAT, COMPLETIONS, find_route

ROLE = sse.event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
POLICIES = st.builds(
    BatchPolicy,
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([0.5, 1.0, 1.5, 3.0]),
)


def content_event(text: str) -> bytes:
    return sse.event({"choices": [{"index": 0, "delta": {"content": text}}]})


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    """The events of a chat, and its bytes in arbitrary pieces with keep-alives between the events."""
    texts = draw(st.lists(st.text(alphabet=st.sampled_from('a\n"é漢🦜:'), max_size=4), max_size=12))
    events = [ROLE, *map(content_event, texts), sse.DONE]
    stream = b"".join(event + b": keep-alive\n\n" * draw(st.integers(0, 1)) for event in events)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=15)))
    return events, [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def runs(relay: EventRelay, pieces: list[bytes]) -> list[bytes]:
    found = [run for piece in pieces if (run := relay.feed(piece))]
    rest = relay.finish()
    return [*found, rest] if rest else found


@given(streams())
def test_a_relayed_stream_is_the_same_events_and_its_role_is_never_alone(
    case: tuple[list[bytes], list[bytes]],
) -> None:
    events, pieces = case
    found = runs(EventRelay(find_route(CHAT)), pieces)
    assert b"".join(found) == b"".join(events)
    assert len(list(sse.events(found[0]))) >= 2


@given(streams(), POLICIES, st.booleans())
def test_batches_hold_every_event_once_in_sizes_of_the_schedule(
    case: tuple[list[bytes], list[bytes]], policy: BatchPolicy, raw: bool
) -> None:
    events, pieces = case
    expected = events if raw else events[:-1]
    shape = FixedBatches(policy, raw=raw)
    outputs = [output for piece in runs(EventRelay(find_route(CHAT)), pieces) for output in shape.feed(piece)]
    outputs += shape.finish()
    if raw:
        items = [list(sse.events(output.data)) for output in outputs]
        assert [event for item in items for event in item] == expected
    else:
        items = [json.loads(output.data) for output in outputs]
        assert [value for item in items for value in item] == [sse.parsed(event) for event in expected]
    size: float = policy.min_size if policy.grows else policy.max_size
    for item in items[:-1]:
        assert len(item) == -(-size // 1)
        size = min(size * policy.growth, policy.max_size) if policy.grows else size
    assert len(items[-1]) <= -(-size // 1)


@pytest.mark.parametrize("shape", [PassThrough(), FixedBatches(BatchPolicy(50, 1, 3.0), raw=True)])
def test_nothing_in_nothing_out(shape: StreamShape) -> None:
    assert shape.finish() == []


def test_a_stream_whose_last_line_end_is_missing_is_complete() -> None:
    relay = EventRelay(find_route(COMPLETIONS))
    assert relay.feed(b"data: {}\n\ndata: [DONE]") == b"data: {}\n\n"
    assert relay.finish() == sse.DONE


def test_what_follows_an_error_does_not_matter() -> None:
    """The stream ends with the error event; the failure keeps the engine's code."""
    relay = EventRelay(find_route(COMPLETIONS))
    error = sse.event({"error": {"message": "no", "type": "x", "param": None, "code": 400}})
    assert relay.feed(b"data: {}\n\n" + error + b"data: {}\n\n") == b"data: {}\n\n" + error + sse.DONE
    assert relay.failure is not None
    assert (relay.failure.status, relay.failure.message) == (400, "no")


def test_a_stream_that_just_ends_is_an_error() -> None:
    relay = EventRelay(find_route(CHAT))
    relay.feed(ROLE)
    with pytest.raises(EngineError):
        relay.finish()
