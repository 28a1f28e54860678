"""Every route of an encoder, on the real engine through gateway and worker; binary answers as bytes and in base64."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.engines.real import real_engine_process
from tests.support.http import Http
from tests.support.stack import Stack, serve

pytestmark = pytest.mark.vllm

TEXTS = ["a cat", "0123456789"]
WIDTH = 256


async def floats(http: Http) -> list[list[float]]:
    """The vectors of the texts, as JSON."""
    answer = await http.post("/openai/v1/embeddings", {"model": "parrot", "input": TEXTS})
    return [entry["embedding"] for entry in answer.json["data"]]


def unpacked(raw: bytes) -> list[list[float]]:
    """Little-endian floats of four bytes, one vector after the other."""
    assert len(raw) == 4 * WIDTH * len(TEXTS)
    return [list(struct.unpack_from(f"<{WIDTH}f", raw, 4 * WIDTH * index)) for index in range(len(TEXTS))]


@pytest.mark.parametrize("encoding", ["bytes", "bytes_only"])
async def test_binary_vectors_come_back_as_the_client_can_read_them(pooling_stack: Stack, encoding: str) -> None:
    """The same numbers as the JSON answer's: bytes on the OpenAI route, base64 in a job; `bytes` comes with vLLM's
    `metadata`, a header or a field."""
    body = {"model": "parrot", "input": TEXTS, "encoding_format": encoding}
    async with Http(pooling_stack.url) as http:
        expected = await floats(http)
        client = await http.post("/openai/v1/embeddings", body)
        job = (await http.post("/runsync", {"input": {"route": "/v1/embeddings", "body": body}})).json
    (output,) = job["output"]
    assert (client.headers["content-type"], output["content_type"]) == ("application/octet-stream",) * 2
    metadata = [json.loads(client.headers.get("metadata", "null")), output.get("metadata")]
    for raw, described in zip((client.body, base64.b64decode(output["base64"])), metadata, strict=True):
        for found, vector in zip(unpacked(raw), expected, strict=True):
            assert found == pytest.approx(vector, abs=1e-4)
        assert (described is not None) == (encoding == "bytes")
        if described is not None:
            shapes = [(item["index"], item["shape"], item["start"]) for item in described["data"]]
            assert shapes == [(0, [WIDTH], 0), (1, [WIDTH], 4 * WIDTH)]


async def test_cohere_vectors_are_the_same(pooling_stack: Stack) -> None:
    body = {"model": "parrot", "texts": TEXTS, "embedding_types": ["float"]}
    async with Http(pooling_stack.url) as http:
        expected = await floats(http)
        answer = (await http.post("/openai/v2/embed", body)).json
    for found, vector in zip(answer["embeddings"]["float"], expected, strict=True):
        assert found == pytest.approx(vector, abs=1e-4)


async def test_a_pooling_request_gives_the_same_vector(pooling_stack: Stack) -> None:
    body: dict[str, Any] = {"model": "parrot", "input": TEXTS[0], "task": "embed"}
    async with Http(pooling_stack.url) as http:
        expected = await floats(http)
        answer = (await http.post("/openai/pooling", body)).json
    assert answer["data"][0]["data"] == pytest.approx(expected[0], abs=1e-4)


async def test_what_the_model_cannot_do_is_refused_by_the_engine(pooling_stack: Stack) -> None:
    """An encoder without a classifier has no such route: the engine's own 404, with what the model cannot do."""
    body = {"model": "parrot", "input": TEXTS[0]}
    async with Http(pooling_stack.url) as http, Http(pooling_stack.engine_url) as engine:
        ours = await http.post("/openai/classify", body)
        direct = await engine.post("/classify", body)
    assert (direct.status, direct.json) == (404, {"detail": "Not Found"})
    assert ours.status == 404
    assert "the model served here cannot classify" in ours.json["error"]["message"]


@pytest.fixture(scope="module")
def classifier() -> Iterator[Stack]:
    """The embedded model's shape as a classifier of two classes; for its last layer there are no weights."""
    settings = {"RUNNER": "pooling", "CONVERT": "classify", "LOAD_FORMAT": "dummy"}
    with real_engine_process(settings) as engine_url, serve(engine_url, "parrot") as up:
        yield up


@pytest.mark.matrix
async def test_a_classifier_gives_the_probabilities_of_its_classes(classifier: Stack) -> None:
    """One answer for each text, in order, from either kind of job."""
    body = {"model": "parrot", "input": TEXTS}
    async with Http(classifier.url) as http:
        client = (await http.post("/openai/classify", body)).json
        [job] = (await http.post("/runsync", {"input": {"openai_route": "/classify", "openai_input": body}})).json[
            "output"
        ]
    for answer in (client, job):
        assert [entry["index"] for entry in answer["data"]] == [0, 1]
        for entry in answer["data"]:
            assert len(entry["probs"]) == 2
            assert sum(entry["probs"]) == pytest.approx(1, abs=1e-3)
