"""Have everything fetched that `find` left to the hub: one process per repository, its progress told as it comes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from worker_vllm.errors import ConfigurationError, EngineUnavailable, Problem
from worker_vllm.models.directories import Places
from worker_vllm.models.download import DownloadRequest
from worker_vllm.models.hub_client import SETTINGS_CAUSES, Cause
from worker_vllm.models.locate import KEYS, FoundModel, locate_model, need
from worker_vllm.models.references import Reference
from worker_vllm.settings.arguments import EngineArguments
from worker_vllm.settings.types import EngineSettings


class FetchFailed(EngineUnavailable):
    """The hub did not give the model for a reason outside the settings; `cause` tells disk from hub."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


async def fetch(
    found: FoundModel,
    settings: EngineSettings,
    env: Mapping[str, str],
    say: Callable[[str], None],
) -> FoundModel:
    """The same model with every download made. Cancelling ends the download that runs.

    Raises ConfigurationError when a setting must change (no such model, gated, revision, token), else FetchFailed.
    """
    places = Places.from_environment(env, EngineArguments(settings.arguments).get("--download-dir"))
    fetched = {}
    for reference in found.downloads:
        request = DownloadRequest(
            reference=reference,
            need=need(reference, settings),
            load_format=EngineArguments(settings.arguments).get("--load-format") or "auto",
            target=places.target,
            spare=places.spare,
        )
        fetched[reference] = await _one(request, dict(env) | dict(found.environment), say)
    return locate_model(settings, env, places, fetched)


async def _one(request: DownloadRequest, env: Mapping[str, str], say: Callable[[str], None]) -> Path:
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_XET_HIGH_PERFORMANCE": "1"}
    say(f"{request.reference.name} is not on this disk: downloading it from the hub into {request.target}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker_vllm.models.download", request.to_json()),
        env={name: text for name, text in env.items() if name != "HF_HUB_ENABLE_HF_TRANSFER"} | quiet,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            told = json.loads(line)
            match told["event"]:
                case "found":
                    await process.wait()
                    return Path(told["path"])
                case "failed":
                    raise _failure(request.reference, Cause(told["cause"]), told["message"])
                case _:
                    say(_sentence(request.reference, told))
        raise FetchFailed(Cause.UNREACHABLE, f"the download of {request.reference.name} ended without an answer")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _failure(reference: Reference, cause: Cause, message: str) -> Exception:
    if cause not in SETTINGS_CAUSES:
        return FetchFailed(cause, message)
    return ConfigurationError([Problem(KEYS[reference.role], reference.name, "a model that the hub gives", message)])


def _sentence(reference: Reference, event: Mapping[str, object]) -> str:
    match event["event"]:
        case "progress":
            return f"{reference.name}: {_gigabytes(event['bytes'])} of {_gigabytes(event['total'])} GB downloaded"
        case "waiting":
            done = _gigabytes(event["bytes"])
            return f"{reference.name}: waiting for the worker that downloads it ({event['holder']}, {done} GB so far)"
        case _:
            return f"{reference.name}: {event.get('text', '')}"


def _gigabytes(count: object) -> str:
    return f"{float(str(count)) / 1e9:.2f}"
