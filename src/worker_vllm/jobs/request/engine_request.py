"""What is sent to the engine: one request as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from worker_vllm.json_bytes import dump_ascii


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to the engine, its path taken from the allow-list."""

    method: str
    path: str
    body: bytes | None = None
    content_type: str = "application/json"


def json_ask(path: str, body: object) -> Ask:
    """A POST of a JSON value, which reaches the engine with every number and character as it came."""
    return Ask("POST", path, dump_ascii(body))
