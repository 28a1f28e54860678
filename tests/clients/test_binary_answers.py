"""Embeddings as bytes through the whole path: gateway, job, worker, engine and back."""

from __future__ import annotations

import json

import pytest

from tests.support.http import Http
from tests.support.stack import Stack

BODY = {"model": "echo", "input": ["a", "b"]}


@pytest.mark.parametrize("encoding", ["bytes", "bytes_only"])
async def test_a_client_gets_the_bytes_that_the_engine_answered(echo_stack: Stack, encoding: str) -> None:
    """Body, content type, and the header that describes the vectors; a job in between holds JSON alone."""
    body = {**BODY, "model": echo_stack.model, "encoding_format": encoding}
    async with Http(echo_stack.engine_url) as engine, Http(echo_stack.openai_url) as client:
        direct = await engine.post("/v1/embeddings", body)
        through = await client.post("/embeddings", body)
    assert (direct.status, direct.headers["content-type"], len(direct.body)) == (200, "application/octet-stream", 64)
    assert (through.status, through.body) == (200, direct.body)
    assert through.headers["content-type"] == direct.headers["content-type"]
    layouts = [json.loads(answer.headers.get("metadata", "{}")).get("data") for answer in (direct, through)]
    assert layouts[0] == layouts[1]
    assert (layouts[0] is None) == (encoding == "bytes_only")
