"""Keeps the receipt of each start and a bundle of each death, in threads, for the worker that owns it."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from worker_vllm import __version__
from worker_vllm.engine.preflight.start_facts import bytes_on_disk, volume_of
from worker_vllm.engine.preflight.vllm_version import engine_version
from worker_vllm.engine.preflight.weights import weights_in
from worker_vllm.engine.records.crash_bundle import BundleContext, crash_bundle
from worker_vllm.engine.records.crash_directory import bundle_name, crash_directory, write_bundle
from worker_vllm.engine.records.events import EngineDeath, FinishedStart, RequestInFlight
from worker_vllm.engine.records.start_history import append, history_file, read_history
from worker_vllm.engine.records.start_receipt import StartReceipt, receipt_of, savings
from worker_vllm.settings.types import Settings

logger = logging.getLogger(__name__)

LONGEST_WRITE_S = 10.0  # at the end of the worker; a volume may hang


class EngineRecords:
    """An EngineObserver. `receipt` is that of the newest start, None before it. Its owner awaits `aclose`."""

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.receipt: StartReceipt | None = None
        self.more_in_flight: Callable[[], tuple[RequestInFlight, ...]] = lambda: ()  # that went past the worker
        self._settings = settings
        self._environment = environment
        self._clock = clock
        self._deaths = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def keeps_bodies(self) -> bool:
        """See `EngineObserver.keeps_bodies`."""
        return self._settings.crash_bundle_prompts

    def start_finished(self, start: FinishedStart) -> None:
        """Write the receipt, later and in a thread, so that the first job does not wait for it."""
        self._begin(self._keep_receipt(start))

    def engine_died(self, death: EngineDeath) -> None:
        """Write a bundle if the engine had served; a failed start has its diagnosis and its log."""
        if death.engine_exit.was_ready:
            self._deaths += 1
            complete = replace(death, in_flight=(*death.in_flight, *self.more_in_flight()))
            self._begin(self._keep_bundle(complete, self._deaths))

    def shown(self) -> Mapping[str, Any] | None:
        """The newest receipt as the payload of /start."""
        return None if self.receipt is None else self.receipt.to_json()

    async def aclose(self) -> None:
        """Wait for what is being written, for LONGEST_WRITE_S at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LONGEST_WRITE_S)

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work, name="engine-records")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a record of the engine could not be written", exc_info=error)

    async def _keep_receipt(self, start: FinishedStart) -> None:
        self.receipt = await asyncio.to_thread(finished_receipt, start, self._clock())
        logger.info("%s", self.receipt.line())

    async def _keep_bundle(self, death: EngineDeath, number: int) -> None:
        try:
            path = await asyncio.to_thread(self._write_bundle, death, number)
        except OSError as error:
            logger.error("no crash bundle could be written: %s", error)
        else:
            logger.error(
                "what is known of the engine's death is in %s; worker-vllm replay %s starts it again", path, path
            )

    def _write_bundle(self, death: EngineDeath, number: int) -> Path:
        now = time.gmtime(self._clock())
        context = BundleContext(
            settings=self._settings,
            environment=self._environment,
            versions=versions(death.facts.machine if death.facts else ""),
            at=time.strftime("%Y-%m-%dT%H:%M:%SZ", now),
        )
        temporary = Path(tempfile.gettempdir())
        directory = crash_directory(Path(volume_of(self._environment)), temporary, os.geteuid())
        name = bundle_name(time.strftime("%Y%m%dT%H%M%SZ", now), self._settings.queue.worker_id, number)
        return write_bundle(directory, name, lambda path: crash_bundle(death, context, path))


def finished_receipt(start: FinishedStart, now: float) -> StartReceipt:
    """The receipt with its savings; adds the start to the history. Reads and writes files."""
    facts = start.facts
    weights = weights_in(start.settings.model)
    downloaded = None
    if facts is not None and facts.repositories:
        downloaded = max(0, bytes_on_disk(facts.repositories, facts.hub_caches) - facts.present_bytes)
    receipt = receipt_of(start, None if weights is None else weights.total_bytes, downloaded, now)
    if facts is None or not facts.cache_root:
        return replace(receipt, savings=savings(receipt.record, ()))
    path = history_file(facts.cache_root)
    earlier = read_history(path)
    append(path, earlier, receipt.record)
    return replace(receipt, savings=savings(receipt.record, earlier))


def versions(machine: str) -> dict[str, str]:
    """The versions that matter for an engine's death."""
    return {
        "worker-vllm": __version__,
        "vllm": engine_version(sys.path) or "not installed",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": machine or "no NVIDIA driver",
    }
