"""Where load is sent: an OpenAI-compatible server, or a RunPod endpoint asked by native jobs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

NATIVE_PATH = re.compile(r"/v2/[^/]+/?$")
DEFAULT_NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class TargetKind(StrEnum):
    """How a target is asked."""

    OPENAI = (
        "openai"  # POST {url}/chat/completions or /completions; also RunPod's /v2/ID/openai/v1 and load balancers
    )
    JOBS = "jobs"  # POST {url}/run and GET {url}/stream/ID, or /runsync: RunPod's /v2/ID


@dataclass(frozen=True, slots=True)
class BenchTarget:
    """One server under load. `key` is sent as a bearer token; `socket` is a Unix socket's path, else empty."""

    name: str
    kind: TargetKind
    url: str
    model: str = ""
    key: str = field(default="", repr=False)
    socket: str = ""


def parse_target(text: str, position: int, model: str = "", key: str = "") -> BenchTarget:
    """`NAME=URL`, or a URL alone, named by its position. Raises ValueError with what is expected."""
    name, separator, url = text.partition("=")
    if not separator or "/" in name:
        name, url = DEFAULT_NAMES[position % len(DEFAULT_NAMES)], text
    if url.startswith("unix:"):
        return BenchTarget(name, TargetKind.OPENAI, "http://engine/v1", model, key, url.removeprefix("unix:"))
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f'target "{text}": expected NAME=URL with http://, https:// or unix:/path/of.sock')
    url = url.rstrip("/")
    if NATIVE_PATH.search(parts.path):
        return BenchTarget(name, TargetKind.JOBS, url, model, key)
    if not parts.path.rstrip("/").endswith("/v1") or parts.query or parts.fragment:
        raise ValueError(
            f'target "{text}": expected a URL ending with /v1 (OpenAI routes) or /v2/ENDPOINT_ID (RunPod jobs)'
        )
    return BenchTarget(name, TargetKind.OPENAI, url, model, key)
