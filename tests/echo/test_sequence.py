"""The echo engine's sequences: tokens, text, finish reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_vllm.echo.generation import GenerationLimits, sequence

# reply, limits, text, tokens, finish reason, stop reason
ENDS = [
    pytest.param("héllo", GenerationLimits(50), "héllo", 6, "stop", None, id="the end token counts, as in vLLM"),
    pytest.param("héllo", GenerationLimits(6), "héllo", 6, "stop", None, id="room for just the end token"),
    pytest.param("héllo", GenerationLimits(5), "héllo", 5, "length", None, id="cut before the end token"),
    pytest.param("héllo", GenerationLimits(2), "hé", 2, "length", None, id="cut inside the reply"),
    pytest.param(
        "ab", GenerationLimits(7, ignore_eos=True), "abababa", 7, "length", None, id="ignore_eos goes on, exactly"
    ),
    pytest.param(
        "", GenerationLimits(3, ignore_eos=True), "...", 3, "length", None, id="an empty reply goes on with filler"
    ),
    pytest.param("", GenerationLimits(3), "", 1, "stop", None, id="an empty reply is one end token"),
    pytest.param(
        "ab", GenerationLimits(9, min_tokens=5), "ababa", 6, "stop", None, id="min_tokens forbids the end token"
    ),
    pytest.param(
        "hello world", GenerationLimits(50, stop=("o w",)), "hell", 7, "stop", "o w", id="stop text is cut off"
    ),
    pytest.param("hello", GenerationLimits(50, stop=("x", "l")), "he", 3, "stop", "l", id="the first stop to appear"),
    pytest.param("aab", GenerationLimits(50, stop=("ab",)), "a", 3, "stop", "ab", id="a stop that starts late"),
    pytest.param(
        "abc", GenerationLimits(50, stop=("b",), include_stop=True), "ab", 2, "stop", "b", id="stop text kept"
    ),
    pytest.param(
        "abc", GenerationLimits(50, stop=("zzzz",)), "abc", 4, "stop", None, id="held-back text comes at the end"
    ),
    pytest.param(
        "abc", GenerationLimits(2, stop=("bcd",)), "ab", 2, "length", None, id="held-back text comes when cut"
    ),
    pytest.param(
        "abab", GenerationLimits(9, min_tokens=2, stop=("b",)), "aba", 4, "stop", "b", id="no stop before min_tokens"
    ),
]


@pytest.mark.parametrize(("reply", "limits", "text", "tokens", "finish", "stop"), ENDS)
def test_ends(reply: str, limits: GenerationLimits, text: str, tokens: int, finish: str, stop: str | None) -> None:
    """A sequence's text, exact token count and finish reason."""
    deltas = list(sequence(0, ("", reply), limits))
    last = deltas[-1]
    counted = sum(len(delta.tokens) for delta in deltas)
    assert ("".join(d.text for d in deltas), counted, last.finish_reason, last.stop_reason) == (
        text,
        tokens,
        finish,
        stop,
    )
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)


@given(
    st.text(alphabet="abc", max_size=30),
    st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=4),
    st.integers(1, 40),
)
def test_streamed_text_is_what_the_stop_strings_leave(reply: str, stops: list[str], most: int) -> None:
    """With any held-back text, the deltas join to the text before the first complete stop string."""
    text = "".join(delta.text for delta in sequence(0, ("", reply), GenerationLimits(most, stop=tuple(stops))))
    seen = reply[:most]
    for end in range(1, len(seen) + 1):
        found = next((stop for stop in stops if seen[:end].endswith(stop)), None)
        if found is not None:
            assert text == seen[:end].removesuffix(found)
            return
    assert text == seen


def test_reasoning_comes_first_and_is_marked() -> None:
    """Reasoning has its own steps, before those of the reply."""
    deltas = list(sequence(0, ("hm", "ok"), GenerationLimits(50)))
    assert [(delta.text, delta.reasoning) for delta in deltas] == [
        ("h", True),
        ("m", True),
        ("o", False),
        ("k", False),
        ("", False),
    ]
