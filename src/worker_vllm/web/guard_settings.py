"""The rules of the guard inside the engine's server: a JSON file that the worker writes before the engine starts.

The file lies in the launch directory with mode 0600, its path in the variable `WORKER_VLLM_GUARD`. It holds digests
of the clients' keys, not the keys.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from worker_vllm.errors import ConfigurationError, Problem
from worker_vllm.settings.arguments import EngineArguments
from worker_vllm.settings.types import EngineKind, RequestLimits, RequestPolicy, Settings

VARIABLE = "WORKER_VLLM_GUARD"
MIDDLEWARE = "worker_vllm.web.guard.RequestGuard"  # the value of vLLM's --middleware
ENGINE_HEALTH = "/health"  # the engine's own


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """The guard's rules. The defaults are the safe ones."""

    limits: RequestLimits = field(default_factory=RequestLimits)
    policy: RequestPolicy = field(default_factory=RequestPolicy)
    max_logprobs: int = 20
    lora_updates: bool = False
    tokenizer_info: bool = False
    key_digests: tuple[str, ...] = ()  # SHA-256 in hexadecimal
    keys_file: str | None = None
    max_body_bytes: int = 30_000_000
    max_concurrency: int = 300  # of this process; beyond it requests get 429
    translate: bool = False
    served_name: str | None = None  # fills in a missing `model`; None where the engine's name is unknown
    repository: str | None = None  # shown in the model list instead of the model's directory
    health_path: str = "/ping"
    health_file: str | None = None  # while it exists, health answers 503 with its content: draining, stalled
    trust_unix: bool = False  # requests over a Unix socket come from the worker itself and are not checked
    traced: bool = False  # the worker exports a span for each request: its id goes to the engine
    report_token: str = ""  # goes with every report to the worker; empty: nothing is reported
    preflight: bool = False  # ALLOWED_ORIGINS is set: CORS preflight requests reach the engine's own answer


def guard_settings(
    settings: Settings, *, trust_unix: bool = False, health_file: str | None = None, report_token: str = ""
) -> GuardSettings:
    """The guard's rules that follow from the worker's settings."""
    attached = settings.engine.kind is EngineKind.ATTACH
    return GuardSettings(
        limits=settings.limits,
        policy=settings.policy,
        max_logprobs=settings.jobs.max_logprobs,
        lora_updates=settings.jobs.allow_lora_updates,
        tokenizer_info=settings.jobs.tokenizer_info,
        key_digests=tuple(digest(key) for key in split_keys(settings.http.api_key.reveal())),
        keys_file=settings.http.api_keys_file,
        max_body_bytes=settings.http.max_body_bytes,
        max_concurrency=settings.queue.max_concurrency,
        translate=settings.http.translate,
        served_name=None if attached else settings.engine.served_names[0],
        repository=None if attached else settings.engine.served_names[-1],
        health_path=settings.http.health_path,
        health_file=health_file,
        trust_unix=trust_unix,
        report_token=report_token,
        preflight=EngineArguments(settings.engine.arguments).has("--allowed-origins"),
    )


def split_keys(text: str) -> list[str]:
    """The keys of a list with commas."""
    return [key.strip() for key in text.split(",") if key.strip()]


def digest(key: str | bytes) -> str:
    """The SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()


def encode(settings: GuardSettings) -> str:
    """The file's content."""
    return json.dumps(asdict(settings))


def write(settings: GuardSettings, path: str) -> dict[str, str]:
    """Write the file; only its owner can read it. Returns the environment that the engine needs."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(encode(settings))
    return {VARIABLE: path}


def read(env: Mapping[str, str]) -> GuardSettings:
    """The rules in the file that the environment names. Raises ConfigurationError: without rules no guard starts.

    A relative `health_file` lies beside that file.
    """
    path = env.get(VARIABLE, "")
    try:
        found = parse(json.loads(Path(path).read_text(encoding="utf-8")))
        health_file = found.health_file and os.path.join(os.path.dirname(path), found.health_file)
        return replace(found, health_file=health_file)
    except (OSError, ValueError, TypeError) as error:
        problem = Problem(VARIABLE, path, "the file that the worker writes for its guard", f"{error}"[:200])
        raise ConfigurationError([problem]) from error


def parse(value: Mapping[str, Any]) -> GuardSettings:
    """The rules in the file's JSON object. Raises TypeError or ValueError for an unknown or a missing field."""
    expected = {one.name for one in fields(GuardSettings)}
    if set(value) != expected:
        raise ValueError(f"the fields differ: {sorted(set(value) ^ expected)}")
    policy = {**value["policy"], "media_domains": tuple(value["policy"]["media_domains"])}
    return GuardSettings(
        **{
            **value,
            "limits": RequestLimits(**value["limits"]),
            "policy": RequestPolicy(**policy),
            "key_digests": tuple(value["key_digests"]),
        }
    )
