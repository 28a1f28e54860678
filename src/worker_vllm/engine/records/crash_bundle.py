"""The content of a crash bundle: everything known of an engine that died while it served. Pure, bounded, redacted.

Secrets are replaced by value and by the format of known access tokens. Prompts are left out, with the lines of the
engine's log that hold one, unless the operator has set CRASH_BUNDLE_PROMPTS.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from worker_vllm.engine.process.command import engine_argv
from worker_vllm.engine.records.events import EngineDeath, RequestInFlight
from worker_vllm.settings.redaction import HIDDEN, SHAPES, Redactor
from worker_vllm.settings.types import EngineKind, EngineSettings, SettingOrigin, Settings

VERSION = 1
MAX_BYTES = 1 << 20
MAX_LOG_BYTES = 256 << 10
MAX_REQUESTS = 1000
MAX_BODY_BYTES = 64 << 10  # of one request
MAX_BODIES_BYTES = 512 << 10  # of all requests together
MAX_VALUE = 2000  # characters of one setting
UNSET = frozenset({"default", "vLLM's default", "not set"})
# vLLM 0.32.0, entrypoints/logger.py: with ENABLE_LOG_REQUESTS its log has prompts.
WITH_PROMPT = re.compile(r"prompt(?:_token_ids|_embeds)?\s*[:=]\s*(?!None)|Received request .*: params|'messages':")
LEFT_OUT = "(a line with a prompt: CRASH_BUNDLE_PROMPTS=1 keeps it)"
NO_PROMPTS = "left out: CRASH_BUNDLE_PROMPTS=1 keeps the bodies of requests, prompts included"


@dataclass(frozen=True, slots=True)
class BundleContext:
    """What the worker adds to the engine's death."""

    settings: Settings
    environment: Mapping[str, str]
    versions: Mapping[str, str]
    at: str  # in UTC, as ISO 8601


def crash_bundle(death: EngineDeath, context: BundleContext, path: str) -> bytes:
    """The bundle as JSON text, at most MAX_BYTES. `path` is the file that it is written to."""
    prompts = context.settings.crash_bundle_prompts
    content: dict[str, Any] = {
        "bundle": VERSION,
        "at": context.at,
        "worker": context.settings.queue.worker_id,
        "replay": f"worker-vllm replay {path}",
        "cause": cause(death),
        "versions": dict(context.versions),
        "engine_command": command(death.settings),
        "settings": [shown(row) for row in context.settings.origins if row.source not in UNSET],
        "environment": named_environment(context.settings.origins, context.environment),
        "requests_in_flight": [request(each, prompts) for each in death.in_flight[:MAX_REQUESTS]],
        "requests_not_listed": max(0, len(death.in_flight) - MAX_REQUESTS),
        "prompts": "kept" if prompts else NO_PROMPTS,
        "log": log_tail(death.engine_exit.lines, prompts=prompts),
    }
    bound_bodies(content["requests_in_flight"])
    redacted = Redactor(context.settings.secrets).value(content)
    assert isinstance(redacted, dict)
    return bounded(redacted)


def cause(death: EngineDeath) -> dict[str, Any]:
    """The diagnosis, and how the engine ended."""
    diagnosis, ended = death.diagnosis, death.engine_exit
    return {
        "cause": diagnosis.cause,
        "class": diagnosis.scope.value,
        "sentence": diagnosis.sentence,
        "last_message": diagnosis.quote,
        "exit_code": ended.exit_code,
        "reason": ended.reason,
        "oom_killed": ended.oom_killed,
        "healthy_s": round(death.healthy_s, 3),
    }


def command(settings: EngineSettings) -> list[str]:
    """The engine's command line; SOCKET stands for the path that each launch creates."""
    argv = engine_argv(settings, "SOCKET")
    return ["vllm", *argv[3:]] if settings.kind is EngineKind.VLLM else ["python", *argv[1:]]


def shown(row: SettingOrigin) -> dict[str, Any]:
    """One setting with its origin; its value as text where JSON has no form for it."""
    value = row.value if isinstance(row.value, bool | int | float | None) else str(row.value)[:MAX_VALUE]
    return {"name": row.name, "value": value, "source": row.source}


def named_environment(origins: Iterable[SettingOrigin], environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that are settings, as they were written; secrets as `***`, by which a replay knows them."""
    found: dict[str, str] = {}
    for row in origins:
        written = row.source.partition("(")[2].rstrip(")")
        for name in (row.name, written):
            if name in environment:
                found[name] = HIDDEN if row.value == HIDDEN else environment[name][:MAX_VALUE]
    return found


def request(each: RequestInFlight, prompts: bool) -> dict[str, Any]:
    """One request; its body only where prompts are wanted."""
    found: dict[str, Any] = {"job": each.job_id, "path": each.path, "running_s": round(each.running_s, 3)}
    if prompts and each.body is not None:
        text = each.body.decode("utf-8", "replace")
        found["body"] = text if len(each.body) <= MAX_BODY_BYTES else None
        if found["body"] is None:
            found["body_left_out"] = f"{len(each.body)} bytes"
    return found


def bound_bodies(requests: list[dict[str, Any]]) -> None:
    """Leave out bodies beyond MAX_BODIES_BYTES, the newest first to go."""
    left = MAX_BODIES_BYTES
    for each in requests:
        size = len((each.get("body") or "").encode())
        if size > left:
            each["body"], each["body_left_out"] = None, f"{size} bytes"
        else:
            left -= size


def log_tail(lines: Iterable[str], *, prompts: bool) -> list[str]:
    """The end of the engine's log within MAX_LOG_BYTES, without tokens that have a known format."""
    kept: list[str] = []
    left = MAX_LOG_BYTES
    for line in reversed(list(lines)):
        text = SHAPES.sub(HIDDEN, line) if prompts or not WITH_PROMPT.search(line) else LEFT_OUT
        left -= len(text.encode()) + 8
        if left < 0:
            break
        kept.append(text)
    return kept[::-1]


def bounded(content: dict[str, Any]) -> bytes:
    """The JSON text; what makes it too large goes: bodies, then halves of the log, then the settings."""
    text = dumped(content)
    if len(text) > MAX_BYTES:
        for each in content["requests_in_flight"]:
            each.pop("body", None)
        text = dumped(content)
    while len(text) > MAX_BYTES and content["log"]:
        content["log"] = content["log"][len(content["log"]) // 2 + 1 :]
        text = dumped(content)
    for name in ("environment", "settings", "requests_in_flight", "engine_command"):
        if len(text) > MAX_BYTES:
            content[name] = type(content[name])()
            text = dumped(content)
    return text


def dumped(content: dict[str, Any]) -> bytes:
    """As JSON that people can read."""
    return json.dumps(content, ensure_ascii=False, indent=1, default=str).encode("utf-8", "replace")
