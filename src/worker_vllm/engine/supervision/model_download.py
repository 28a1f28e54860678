"""Bring what is not on disk: the model's downloads, as the engine's settings or as the reason why not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from worker_vllm.engine.diagnosis.types import Diagnosis, Scope
from worker_vllm.engine.preflight.compile_cache import ROOT
from worker_vllm.engine.preflight.preflight import bring_notes, read_config, with_found
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
    """The settings with every download made, or the diagnosis of what went wrong. Cancelling ends the download."""
    from worker_vllm.models.download_process import DownloadFailed, fetch
    from worker_vllm.models.hub_client import Cause

    try:
        whole = await fetch(found, settings, environment, logger.info)
    except ConfigurationError as error:
        return Diagnosis("model not found", Scope.SETTINGS, str(error))
    except DownloadFailed as error:
        scope = Scope.PASSING if error.cause is Cause.UNREACHABLE else Scope.HOST
        return Diagnosis(f"hub: {error.cause}", scope, str(error))
    if whole.problems:
        return Diagnosis("model damaged", Scope.SETTINGS, "; ".join(map(str, whole.problems)))
    bring_notes(whole, environment, {**environment, **settings.environment}.get(ROOT))
    return with_rope(with_found(settings, whole))


def with_rope(settings: EngineSettings) -> EngineSettings | Diagnosis:
    """The settings with RoPE parameters merged that had to wait for the model's config.json."""
    if settings.rope is None:
        return settings
    try:
        arguments = completed(settings.arguments, settings.rope, read_config(settings.model))
    except BadValue as bad:
        problem = Problem(settings.rope.key, "as set", bad.expected, bad.change)
        return Diagnosis("RoPE settings", Scope.SETTINGS, str(problem))
    return replace(settings, arguments=arguments, rope=None)


async def download(
    beginning: StartPlan, provide: Provide, policy: RelaunchPolicy, stopping: asyncio.Event
) -> EngineSettings | Diagnosis | None:
    """What `provide` gives, asked again while that can help; None when `stopping` came first.

    A hub that cannot be reached is waited for, a while longer each time, but not beyond the start's deadline.
    """
    assert beginning.found is not None
    pauses = beginning.backoff.pauses(beginning.settings.start_timeout_s)
    while not stopping.is_set():
        providing = asyncio.create_task(provide(beginning.settings, beginning.environment, beginning.found))
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
            await passed(stopping, pause_s)
        elif policy.decide(given, beginning.settings, healthy_s=0).action is not Action.RELAUNCH:
            return given
    return None


async def passed(event: asyncio.Event, within_s: float) -> None:
    """Return when the time has passed, or the event came."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()


async def first_of(task: asyncio.Task[Any], event: asyncio.Event) -> None:
    """Wait for the task; cancel it when the event comes first."""
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
