"""Parses a request body into a submission: the fields that RunPod reads, with their bounds; drops other keys."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from worker_vllm.errors import RequestError
from worker_vllm.gateway.options import JobPolicy
from worker_vllm.gateway.state.job import Submission
from worker_vllm.json_bytes import dump

DAY_S = 86_400
FORWARDED = ("webhook", "webhookV2", "policy", "s3Config")


def read_submission(payload: Any, policy: JobPolicy, *, sync: bool) -> Submission:
    """Parse a /run or /runsync body. Raises RequestError 400 that names the field."""
    if not isinstance(payload, dict) or "input" not in payload:
        raise RequestError('the body has no "input": expected {"input": …}')
    asked = payload.get("policy") or {}
    if not isinstance(asked, dict):
        raise RequestError(f'"policy" is of type {type(asked).__name__}: expected an object')
    timeout, ttl = asked.get("executionTimeout"), asked.get("ttl")
    return Submission(
        input=dump(payload["input"]),
        sync=sync,
        execution_timeout_s=policy.execution_timeout_s
        if timeout is None
        else _seconds("executionTimeout", timeout, 5),
        ttl_s=policy.ttl_s if ttl is None else ttl_seconds(ttl, 10),
        webhook=_webhook(payload.get("webhook")),
        forwarded=b"".join(
            b', "%b": %b' % (key.encode(), dump(payload[key])) for key in FORWARDED if payload.get(key) is not None
        ),
    )


def read_openai(route: str, body: bytes | None, policy: JobPolicy) -> Submission:
    """The submission of a request on an OpenAI route; `body` is JSON text that is passed on unchanged, or None."""
    route_text = json.dumps(route).encode()
    tail = b"" if body is None else b', "openai_input": %s' % body
    return Submission(
        input=b'{"openai_route": %s%s}' % (route_text, tail),
        sync=True,
        execution_timeout_s=policy.execution_timeout_s,
        ttl_s=policy.ttl_s,
    )


def ttl_seconds(value: Any, least_s: int) -> float:
    """Seconds of a time to live in milliseconds. Raises RequestError outside `least_s` to seven days."""
    return _seconds("ttl", value, least_s)


def _seconds(name: str, value: Any, least_s: int) -> float:
    try:
        seconds = float(value) / 1000
    except (TypeError, ValueError):
        raise RequestError(f"{name}={value!r}: expected milliseconds") from None
    if not least_s <= seconds <= 7 * DAY_S:
        raise RequestError(f"{name}={value!r}: expected {least_s * 1000} to {7 * DAY_S * 1000} milliseconds")
    return seconds


def _webhook(url: Any) -> str | None:
    if url is None:
        return None
    if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https"):
        raise RequestError(f"webhook={url!r}: expected an http or https address")
    return url
