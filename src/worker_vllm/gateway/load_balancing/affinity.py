"""The header by which a client asks for the worker that served it before. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

HEADER = b"x-runpod-worker-id"


@dataclass(frozen=True, slots=True)
class Affinity:
    """The wanted worker, empty for any. Strict: no other will do. Resumes: a frozen one is thawed for it."""

    worker_id: str = ""
    strict: bool = False
    resumes: bool = False


def read_affinity(headers: Iterable[tuple[bytes, bytes]]) -> Affinity:
    """`ID`, `strict ID` or `strict-resume ID`."""
    words = next((value.decode("latin-1").split() for name, value in headers if name.lower() == HEADER), [])
    match words:
        case ["strict", worker_id]:
            return Affinity(worker_id, strict=True)
        case ["strict-resume", worker_id]:
            return Affinity(worker_id, strict=True, resumes=True)
        case [worker_id]:
            return Affinity(worker_id)
        case _:
            return Affinity()
