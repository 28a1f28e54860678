"""An embedding endpoint on the real engine: the embedded model as an encoder, whose vectors have known relations."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import AsyncIterator

import pytest

from tests.support.core import Core, core_on

pytestmark = pytest.mark.vllm


@pytest.fixture
async def core(pooling_engine: str) -> AsyncIterator[Core]:
    async with core_on(pooling_engine) as core:
        yield core


async def vectors(core: Core, texts: list[str]) -> list[list[float]]:
    answer = (await core.openai("/v1/embeddings", {"model": "parrot", "input": texts})).value
    assert [entry["index"] for entry in answer["data"]] == list(range(len(texts)))
    return [entry["embedding"] for entry in answer["data"]]


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / (math.hypot(*one) * math.hypot(*other))


async def test_embeddings_are_vectors_of_the_texts(core: Core) -> None:
    """The same text has the same vector, another text another; the length is one."""
    same, again, other = await vectors(core, ["a cat", "a cat", "0123456789"])
    assert len(same) == 256
    assert sum(value * value for value in same) == pytest.approx(1, abs=1e-3)
    assert cosine(same, again) == pytest.approx(1, abs=1e-3)
    assert cosine(same, other) < 0.99


async def test_base64_holds_the_same_numbers(core: Core) -> None:
    """Little-endian floats of four bytes, as the official clients ask for."""
    [expected] = await vectors(core, ["a cat"])
    body = {"model": "parrot", "input": "a cat", "encoding_format": "base64"}
    text = (await core.openai("/v1/embeddings", body)).value["data"][0]["embedding"]
    found = struct.unpack(f"<{len(expected)}f", base64.b64decode(text))
    assert found == pytest.approx(expected, abs=1e-4)


async def test_rerank_puts_the_nearest_document_first(core: Core) -> None:
    """The document that is the query itself."""
    documents = ["0123456789", "a cat", "zzzz zzzz"]
    for route in ("/v1/rerank", "/rerank", "/v2/rerank"):
        answer = (await core.openai(route, {"model": "parrot", "query": "a cat", "documents": documents})).value
        results = answer["results"]
        assert results[0]["index"] == 1
        scores = [result["relevance_score"] for result in results]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] == pytest.approx(1, abs=1e-2)


async def test_scores_are_the_similarities_of_the_embeddings(core: Core) -> None:
    texts = ["a cat", "0123456789"]
    one, two = await vectors(core, texts)
    answer = (await core.openai("/v1/score", {"model": "parrot", "text_1": texts[0], "text_2": texts})).value
    scores = [entry["score"] for entry in answer["data"]]
    assert scores == pytest.approx([1, cosine(one, two)], abs=2e-2)


async def test_generation_on_an_encoder_fails_with_the_engines_status(core: Core) -> None:
    """Generation on an embedding endpoint fails with the engine's own status, native jobs too."""
    for result in (
        await core.openai("/v1/chat/completions", {"messages": "hi"}),
        await core.openai("/v1/chat/completions", {"messages": "hi", "stream": True}),
        await core.run({"prompt": "hi"}),
    ):
        assert 400 <= result.failure["code"] < 500
