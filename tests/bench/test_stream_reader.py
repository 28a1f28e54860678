"""What the reader of a stream takes from its bytes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from worker_vllm.bench.openai_requests import StreamReader
from worker_vllm.bench.samples import Sample

ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
WORD = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
TEXT = b'data: {"choices":[{"text":"a"}]}\n\n'
THOUGHT = b'data: {"choices":[{"delta":{"reasoning":"a"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n'
ERROR = b'data: {"error":{"message":"the engine died","code":503}}\n\n'
DONE = b"data: [DONE]\n\n"


def clock(ticks: Iterator[float]) -> float:
    """The next second."""
    return next(ticks)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([ROLE, WORD, WORD, USAGE + DONE], Sample(0, 2, 5, 7, 2, [1.0])),
        ([ROLE + WORD, WORD + USAGE + DONE], Sample(0, 1, 3, 7, 2, [1.0])),
        ([TEXT, TEXT, TEXT, DONE], Sample(0, 1, 5, 0, 3, [1.0, 1.0])),
        ([THOUGHT, WORD, USAGE + DONE], Sample(0, 1, 4, 7, 2, [1.0])),
        ([WORD, ERROR + DONE], Sample(0, 1, 3, failure="the engine died")),
        ([WORD, WORD], Sample(0, 1, 3, gaps=[1.0], failure="the stream ended without [DONE]")),
        ([], Sample(0, None, 1, failure="the stream ended without [DONE]")),
    ],
    ids=["chat", "coalesced", "completion", "reasoning", "error", "cut", "empty"],
)
def test_a_stream_is_measured_as_it_arrives(pieces: list[bytes], expected: Sample) -> None:
    """The first content, not the role; gaps between arrivals; the tokens of the usage; errors inside the stream."""
    ticks = iter(float(second) for second in range(1, 100))
    sample = Sample(0)
    reader = StreamReader(sample, lambda: clock(ticks))
    for piece in pieces:
        reader.feed(piece)
    reader.close()
    assert sample == expected


def test_stamped_tokens_have_an_age_also_when_a_stamp_is_split() -> None:
    """The engine writes its clock into each token."""
    sample = Sample(0)
    reader = StreamReader(sample, iter([10.0, 11.0, 12.0]).__next__)
    event = b'data: {"choices":[{"text":"@9.500000 "}]}\n\n'
    reader.feed(event + event[:30])
    reader.feed(event[30:])
    assert sample.ages == [0.5, 1.5]
