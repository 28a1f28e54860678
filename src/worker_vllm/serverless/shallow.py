"""Jobs whose JSON is nested deeper than Python reads it: found one by one, so that each gets an answer.

A body of a few thousand brackets raises RecursionError in `json.loads`. Left alone it would end the worker that took
it, then the next one, and take every job of the same batch along.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

TEXT = rb'"(?:[^"\\]|\\.)*"'
STRUCTURE = re.compile(TEXT + rb"|[\[\]{},]")
ID = re.compile(rb"\s*:\s*(" + TEXT + rb")")
REFUSAL = "the job's input is nested too deeply: a JSON value of more than about 900 levels cannot be read here"


def parse_each(body: bytes) -> list[dict[str, Any]]:
    """The jobs of a take's answer; one that cannot be read has its `id` and, under `refused`, the reason.

    Raises ValueError for what is no JSON, or has no readable id.
    """
    return [_job(piece) for piece in _elements(body.strip())]


def _job(piece: bytes) -> dict[str, Any]:
    try:
        job: dict[str, Any] = json.loads(piece)
    except RecursionError:
        return {"id": _id(piece), "refused": REFUSAL}
    return job


def _elements(body: bytes) -> Iterator[bytes]:
    """The elements of an array, or the one value that the body is."""
    if not body.startswith(b"["):
        yield body
        return
    depth, start = 0, 1
    for token in STRUCTURE.finditer(body):
        sign = token[0]
        depth += (sign in b"[{") - (sign in b"]}")
        if (depth == 1 and sign == b",") or depth == 0:
            if element := body[start : token.start()].strip():
                yield element
            start = token.end()
    if depth:
        raise ValueError("a list of jobs that does not end")


def _id(piece: bytes) -> str:
    depth = 0
    for token in STRUCTURE.finditer(piece):
        sign = token[0]
        depth += (sign in b"[{") - (sign in b"]}")
        if depth == 1 and sign == b'"id"' and (value := ID.match(piece, token.end())):
            return str(json.loads(value[1]))
    raise ValueError("a job that is nested too deeply, and has no id")
