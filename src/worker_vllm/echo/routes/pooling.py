"""/v1/embeddings, /score and /rerank in vLLM 0.32's format; deterministic values without meaning."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from worker_vllm.echo import tokens as vocabulary
from worker_vllm.echo.routes import body as fields
from worker_vllm.echo.routes.answer import usage
from worker_vllm.errors import RequestError

DIMENSIONS = 8


def vector(tokens: Sequence[int]) -> list[float]:
    """A unit vector that depends on the tokens only."""
    digest = hashlib.sha256(vocabulary.decode(tokens, markers=True).encode()).digest()
    raw = [byte / 127.5 - 1.0 for byte in digest[:DIMENSIONS]]
    length = math.sqrt(sum(value * value for value in raw)) or 1.0
    return [struct.unpack("f", struct.pack("f", value / length))[0] for value in raw]


def similarity(left: str, right: str) -> float:
    """Fraction of the distinct characters that two texts share, 0 to 1."""
    a, b = set(left), set(right)
    return len(a & b) / max(len(a | b), 1)


def embeddings(body: Mapping[str, Any], name: str, answer_id: str, created: int) -> dict[str, Any]:
    """One vector per input, as floats or base64."""
    encoding = body.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise fields.invalid("encoding_format", "Input should be 'float' or 'base64'")
    source = {"prompt": body.get("input")}
    prompts = (tuple(vocabulary.render(fields.messages(body))),) if "messages" in body else fields.prompts(source)
    rows: list[dict[str, Any]] = []
    for index, prompt in enumerate(prompts):
        numbers = vector(prompt)
        packed = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *numbers)).decode()
        rows.append({"index": index, "object": "embedding", "embedding": packed if encoding == "base64" else numbers})
    counted = {**usage(sum(map(len, prompts)), 0), "prompt_tokens_details": None, "completion_tokens_details": None}
    return {"id": answer_id, "object": "list", "created": created, "model": name, "data": rows, "usage": counted}


def _texts(body: Mapping[str, Any], *names: str) -> list[str]:
    for name in names:
        if name in body:
            return list(fields.strings(body, name))
    raise fields.invalid(names[0], "Field required")


def score(body: Mapping[str, Any], name: str, answer_id: str, created: int) -> dict[str, Any]:
    """One score per pair; a single left text is paired with every right text."""
    left = _texts(body, "text_1", "queries", "data_1")
    right = _texts(body, "text_2", "documents", "items", "data_2")
    if len(left) == 1:
        left = left * len(right)
    if len(left) != len(right):
        raise RequestError("Input lengths must be either 1:1, 1:N or N:N")
    rows = [
        {"index": index, "object": "score", "score": similarity(a, b)}
        for index, (a, b) in enumerate(zip(left, right, strict=True))
    ]
    counted = {
        **usage(len("".join(left + right)), 0),
        "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }
    return {"id": answer_id, "object": "list", "created": created, "model": name, "data": rows, "usage": counted}


def rerank(body: Mapping[str, Any], name: str, answer_id: str) -> dict[str, Any]:
    """The documents in order of falling similarity to the query."""
    (query,) = _texts(body, "query")[:1] or [""]
    documents = _texts(body, "documents")
    top = fields.integer(body, "top_n", 0) or len(documents)
    order = sorted(range(len(documents)), key=lambda index: -similarity(query, documents[index]))
    results = [
        {
            "index": index,
            "document": {"text": documents[index], "multi_modal": None},
            "relevance_score": similarity(query, documents[index]),
        }
        for index in order[:top]
    ]
    count = len(query) * len(documents) + len("".join(documents))
    return {
        "id": answer_id,
        "model": name,
        "usage": {"prompt_tokens": count, "total_tokens": count},
        "results": results,
    }
