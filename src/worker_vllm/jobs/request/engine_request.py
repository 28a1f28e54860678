"""Requests to the engine that carry a JSON body."""

from __future__ import annotations

from worker_vllm.engine.interface import EngineRequest
from worker_vllm.json_bytes import dump_ascii

JSON_HEADERS = {"Content-Type": "application/json"}


def json_request(path: str, body: object) -> EngineRequest:
    """A POST of a JSON value. The engine receives every number and every character unchanged."""
    return EngineRequest("POST", path, dump_ascii(body), JSON_HEADERS)
