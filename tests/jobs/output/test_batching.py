"""Native streams have exactly the original's sizes: golden vectors, byte for byte."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from worker_vllm.jobs.output.batching import BatchPolicy
from worker_vllm.jobs.output.native_items import ItemStream, single_item
from worker_vllm.jobs.request.batch_options import parse_batch_policy
from worker_vllm.settings.types import JobSettings

PROMPT_TOKENS = 5


@dataclass(frozen=True)
class Golden:
    """A stream of `steps` engine steps over `n` sequences, and the items it must become: sizes, then the count."""

    reason: str
    steps: int
    items: list[tuple[list[int], int]]
    n: int = 1
    fields: dict[str, Any] = field(default_factory=dict)


def single(*sizes: int) -> list[tuple[list[int], int]]:
    """Items of one sequence with these sizes and the running sum as their usage."""
    return [([size], sum(sizes[: at + 1])) for at, size in enumerate(sizes)]


GOLDEN = [
    Golden("15 tokens by default", 15, single(1, 3, 9, 2)),
    Golden("13 tokens end on a boundary: no trailer", 13, single(1, 3, 9)),
    Golden("200 tokens reach the maximum", 200, single(1, 3, 9, 27, 50, 50, 50, 10)),
    Golden("one counter over two sequences", 5, [([1, 0], 1), ([1, 2], 4), ([3, 3], 10)], n=2),
    Golden(
        "sizes grow as floats: 2, 3.0, 4",
        12,
        single(2, 3, 4, 3),
        fields={"max_batch_size": 4, "min_batch_size": 2, "batch_size_growth_factor": 1.5},
    ),
    Golden("the maximum caps the growth", 12, single(1, 3, 4, 4), fields={"max_batch_size": 4}),
    Golden("a maximum of one", 3, single(1, 1, 1), fields={"max_batch_size": 1}),
    Golden("no growth: always the maximum", 60, single(50, 10), fields={"batch_size_growth_factor": 1}),
    Golden("a minimum above the maximum: always the maximum", 60, single(50, 10), fields={"min_batch_size": 60}),
    Golden("a growth of 0 means the default", 13, single(1, 3, 9), fields={"batch_size_growth_factor": 0}),
    Golden("numbers as text", 12, single(1, 3, 4, 4), fields={"max_batch_size": "4"}),
    Golden("no tokens, no items", 0, []),
]


def event(index: int, count: int, text: str) -> dict[str, Any]:
    return {
        "choices": [{"index": index, "text": text}],
        "usage": {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": count},
    }


def run(stream: ItemStream, events: list[dict[str, Any]]) -> list[bytes]:
    items = [item for one in events for item in stream.feed(one)]
    last = stream.finish()
    return items if last is None else [*items, last]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.reason)
def test_a_stream_has_the_originals_items(case: Golden) -> None:
    """Sizes, order, empty entries and the cumulative usage, as bytes."""
    events = [event(index, step + 1, f"{index}.{step} ") for step in range(case.steps) for index in range(case.n)]
    stream = ItemStream(case.n, parse_batch_policy(case.fields, JobSettings()))
    taken = [0] * case.n
    expected = []
    for sizes, output in case.items:
        parts = []
        for index, size in enumerate(sizes):
            tokens = ",".join(f'"{index}.{step} "' for step in range(taken[index], taken[index] + size))
            parts.append(f'{{"tokens":[{tokens}]}}')
            taken[index] += size
        choices = ",".join(parts)
        expected.append(f'{{"choices":[{choices}],"usage":{{"input":5,"output":{output}}}}}'.encode())
    assert run(stream, events) == expected


def test_without_a_stream_there_is_one_item_in_the_order_of_the_sequences() -> None:
    answer = {
        "choices": [{"index": 1, "text": "two"}, {"index": 0, "text": "o\u00efne"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 6},
    }
    expected = '{"choices":[{"tokens":["oïne"]},{"tokens":["two"]}],"usage":{"input":5,"output":6}}'
    assert single_item(answer) == expected.encode()


def test_an_answer_without_sequences_is_one_empty_text() -> None:
    assert single_item({"choices": []}) == b'{"choices":[{"tokens":[""]}],"usage":{"input":0,"output":0}}'


def test_an_event_of_several_tokens_is_never_split_and_counts_all_of_them() -> None:
    """vLLM merges tokens when its reader lags; 1 + 5 + 1 tokens are sizes 1, then 5 (over 3), then the rest."""
    events = [event(0, 1, "a"), event(0, 6, "bcdef"), event(0, 7, "g")]
    assert [json.loads(item) for item in run(ItemStream(1, BatchPolicy(50, 1, 3.0)), events)] == [
        {"choices": [{"tokens": ["a"]}], "usage": {"input": 5, "output": 1}},
        {"choices": [{"tokens": ["bcdef"]}], "usage": {"input": 5, "output": 6}},
        {"choices": [{"tokens": ["g"]}], "usage": {"input": 5, "output": 7}},
    ]


def test_an_engine_without_running_counts_is_put_right_by_its_final_usage() -> None:
    """One token per piece of text, then the true count; a last item reports it even when no text is pending."""
    events: list[dict[str, Any]] = [{"choices": [{"index": 0, "text": text}]} for text in ("a", "b", "c", "d")]
    events.append({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 6}})
    assert [json.loads(item) for item in run(ItemStream(1, BatchPolicy(50, 1, 3.0)), events)] == [
        {"choices": [{"tokens": ["a"]}], "usage": {"input": 0, "output": 1}},
        {"choices": [{"tokens": ["b", "c", "d"]}], "usage": {"input": 0, "output": 4}},
        {"choices": [{"tokens": []}], "usage": {"input": 9, "output": 6}},
    ]


@pytest.mark.parametrize("seed", range(50))
def test_items_of_any_sizes_join_to_the_complete_text(seed: int) -> None:
    """Any policy, any merging of tokens, any interleaving of sequences: the same texts and counts."""
    dice = random.Random(seed)
    n = dice.randint(1, 4)
    policy = BatchPolicy(dice.randint(1, 20), dice.randint(1, 20), dice.choice([0.5, 1, 1.5, 3]))
    texts, counts, events = [""] * n, [0] * n, []
    for _ in range(dice.randint(0, 120)):
        index = dice.randrange(n)
        text = dice.choice(["", "a", "é", "漢", "🦜", '"\\\n'])
        counts[index] += dice.choice([1, 1, 1, 2, 5])
        texts[index] += text
        events.append(event(index, counts[index], text))
    items = [json.loads(item) for item in run(ItemStream(n, policy), events)]
    joined = ["".join(token for item in items for token in item["choices"][index]["tokens"]) for index in range(n)]
    assert joined == texts
    assert ([item["usage"]["output"] for item in items] or [0])[-1] == sum(counts)
    assert all(len(item["choices"]) == n for item in items)
