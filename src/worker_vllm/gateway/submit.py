"""From a request's body to a submission: what RunPod reads of it, with its bounds; other keys are dropped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from worker_vllm.errors import RequestError
from worker_vllm.gateway.job import Submission
from worker_vllm.gateway.options import JobPolicy

DAY_S = 86_400
FORWARDED = ("webhook", "webhookV2", "policy", "s3Config")


def read_submission(payload: Any, query: Mapping[str, str], policy: JobPolicy, *, sync: bool) -> Submission:
    """The submission of a /run or /runsync body. Raises RequestError 400 that names the field."""
    if not isinstance(payload, dict) or "input" not in payload:
        raise RequestError('the body has no "input": expected {"input": …}')
    asked = payload.get("policy") or {}
    if not isinstance(asked, dict):
        raise RequestError(f'"policy" is of type {type(asked).__name__}: expected an object')
    ttl = query.get("ttl", asked.get("ttl"))
    return Submission(
        input=json.dumps(payload["input"], ensure_ascii=False).encode(),
        sync=sync,
        execution_timeout_s=_seconds(
            "executionTimeout", asked.get("executionTimeout"), policy.execution_timeout_s, 5
        ),
        ttl_s=_seconds("ttl", ttl, policy.ttl_s, 6 if "ttl" in query else 10),
        webhook=_webhook(payload.get("webhook")),
        forwarded={key: payload[key] for key in FORWARDED if payload.get(key) is not None},
    )


def read_openai(route: str, body: bytes | None, policy: JobPolicy) -> Submission:
    """The submission of a request on an OpenAI route; `body` is JSON text that is passed on as it is, or None."""
    route_text = json.dumps(route).encode()
    tail = b"" if body is None else b', "openai_input": %s' % body
    return Submission(
        input=b'{"openai_route": %s%s}' % (route_text, tail),
        sync=True,
        execution_timeout_s=policy.execution_timeout_s,
        ttl_s=policy.ttl_s,
    )


def _seconds(name: str, value: Any, default_s: float, least_s: int) -> float:
    if value is None:
        return default_s
    try:
        seconds = float(value) / 1000
    except (TypeError, ValueError):
        raise RequestError(f"policy.{name}={value!r}: expected milliseconds") from None
    if not least_s <= seconds <= 7 * DAY_S:
        raise RequestError(f"policy.{name}={value!r}: expected {least_s * 1000} to {7 * DAY_S * 1000} milliseconds")
    return seconds


def _webhook(url: Any) -> str | None:
    if url is None:
        return None
    if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https"):
        raise RequestError(f"webhook={url!r}: expected an http or https address")
    return url
