"""Downloads the model's missing files, with retries; the result is the engine's settings or a diagnosis."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from worker_vllm.engine.diagnosis.types import Diagnosis, Scope
from worker_vllm.engine.preflight.compile_cache import ROOT
from worker_vllm.engine.preflight.preflight import fill_model_info_cache, read_config, with_found
from worker_vllm.engine.supervision.relaunch_policy import Action, RelaunchPolicy
from worker_vllm.engine.supervision.startup import StartPlan
from worker_vllm.errors import ConfigurationError, Problem
from worker_vllm.models.locate import FoundModel
from worker_vllm.settings.legacy.rope import completed
from worker_vllm.settings.parsers import BadValue
from worker_vllm.settings.types import EngineSettings

logger = logging.getLogger(__name__)

Provide = Callable[[EngineSettings, Mapping[str, str], FoundModel], Coroutine[Any, Any, EngineSettings | Diagnosis]]


async def provide(
    settings: EngineSettings, environment: Mapping[str, str], found: FoundModel
) -> EngineSettings | Diagnosis:
    """Download everything; returns the settings with local paths, or the diagnosis. Cancelling ends the download."""
    from worker_vllm.models.download_process import DownloadFailed, fetch
    from worker_vllm.models.hub_client import Cause

    try:
        complete = await fetch(found, settings, environment, logger.info)
    except ConfigurationError as error:
        return Diagnosis("model not found", Scope.SETTINGS, str(error))
    except DownloadFailed as error:
        scope = Scope.PASSING if error.cause is Cause.UNREACHABLE else Scope.HOST
        return Diagnosis(f"hub: {error.cause}", scope, str(error))
    if complete.problems:
        return Diagnosis("model damaged", Scope.SETTINGS, "; ".join(map(str, complete.problems)))
    fill_model_info_cache(complete, environment, {**environment, **settings.environment}.get(ROOT))
    return with_rope(with_found(settings, complete))


def with_rope(settings: EngineSettings) -> EngineSettings | Diagnosis:
    """The settings with the RoPE parameters merged, which needs the model's config.json on disk."""
    if settings.rope is None:
        return settings
    try:
        arguments = completed(settings.arguments, settings.rope, read_config(settings.model))
    except BadValue as bad:
        problem = Problem(settings.rope.key, "as set", bad.expected, bad.change)
        return Diagnosis("RoPE settings", Scope.SETTINGS, str(problem))
    return replace(settings, arguments=arguments, rope=None)


async def download(
    plan: StartPlan, provide: Provide, policy: RelaunchPolicy, stopping: asyncio.Event
) -> EngineSettings | Diagnosis | None:
    """The result of `provide`, called again while that can help; None when `stopping` is set first.

    While the hub cannot be reached, the pauses grow, within the start's deadline.
    """
    assert plan.found is not None
    pauses = plan.backoff.pauses(plan.settings.start_timeout_s)
    while not stopping.is_set():
        providing = asyncio.create_task(provide(plan.settings, plan.environment, plan.found))
        await first_of(providing, stopping)
        if providing.cancelled():
            return None
        given = providing.result()
        if isinstance(given, EngineSettings):
            return given
        if given.scope is Scope.PASSING:
            pause_s = next(pauses, None)
            if pause_s is None:
                return given
            logger.warning("%s; trying again in %.0f s", given.sentence, pause_s)
            await wait_for_event(stopping, pause_s)
        elif policy.decide(given, plan.settings, healthy_s=0).action is not Action.RELAUNCH:
            return given
    return None


async def wait_for_event(event: asyncio.Event, within_s: float) -> None:
    """Return when the event is set, or after `within_s` seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()


async def first_of(task: asyncio.Task[Any], event: asyncio.Event) -> None:
    """Wait for the task; cancel it when the event is set first."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
