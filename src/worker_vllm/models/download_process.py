"""Run the downloads that `locate_model` found necessary: one process per repository, with its progress reported."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from worker_vllm.errors import ConfigurationError, EngineUnavailable, Problem
from worker_vllm.models.directories import ModelDirectories
from worker_vllm.models.download import DownloadRequest
from worker_vllm.models.hub_client import SETTINGS_CAUSES, Cause
from worker_vllm.models.locate import KEYS, FoundModel, locate_model, required_files
from worker_vllm.models.references import Reference
from worker_vllm.settings.arguments import EngineArguments
from worker_vllm.settings.types import EngineSettings


class DownloadFailed(EngineUnavailable):
    """A download failed for a reason that no setting can change; `cause` distinguishes a full disk from the hub."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


async def fetch(
    found: FoundModel,
    settings: EngineSettings,
    env: Mapping[str, str],
    report: Callable[[str], None],
) -> FoundModel:
    """The same model with all its downloads completed. Cancelling kills the running download process.

    Raises ConfigurationError when a setting must change (not found, gated, revision, token), else DownloadFailed.
    """
    directories = ModelDirectories.from_environment(env, EngineArguments(settings.arguments).get("--download-dir"))
    fetched = {}
    for reference in found.downloads:
        request = DownloadRequest(
            reference=reference,
            required=required_files(reference, settings),
            load_format=EngineArguments(settings.arguments).get("--load-format") or "auto",
            target=directories.target,
            fallback=directories.fallback,
        )
        fetched[reference] = await _download(request, dict(env) | dict(found.environment), report)
    return locate_model(settings, env, directories, fetched)


async def _download(request: DownloadRequest, env: Mapping[str, str], report: Callable[[str], None]) -> Path:
    """Run one download process to its end; returns the snapshot's directory."""
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_XET_HIGH_PERFORMANCE": "1"}
    report(f"{request.reference.name} is not on this disk: downloading it from the hub into {request.target}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker_vllm.models.download", request.to_json()),
        env={name: text for name, text in env.items() if name != "HF_HUB_ENABLE_HF_TRANSFER"} | quiet,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            event = json.loads(line)
            match event["event"]:
                case "found":
                    await process.wait()
                    return Path(event["path"])
                case "failed":
                    raise _failure(request.reference, Cause(event["cause"]), event["message"])
                case _:
                    report(_progress_line(request.reference, event))
        raise DownloadFailed(Cause.UNREACHABLE, f"the download of {request.reference.name} ended without a result")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _failure(reference: Reference, cause: Cause, message: str) -> Exception:
    if cause not in SETTINGS_CAUSES:
        return DownloadFailed(cause, message)
    return ConfigurationError([Problem(KEYS[reference.role], reference.name, "a model that the hub serves", message)])


def _progress_line(reference: Reference, event: Mapping[str, object]) -> str:
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
