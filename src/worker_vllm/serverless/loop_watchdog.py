"""Notices an event loop that is blocked: a thread of its own, which only the loop can keep quiet."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchdogLimits:
    """When a silent loop is reported and when it is given up; the thread looks every `tick_s`."""

    tick_s: float = 0.5
    alarm_s: float = 5.0
    give_up_s: float = 120.0


class Watchdog:
    """Watches the running event loop between `start` and `stop`.

    Time counts in the thread's own ticks: a process that was frozen as a whole does not look blocked. After
    `alarm_s` the blocked code is logged, once per blockage; after `give_up_s` `on_wedged` is called in the thread.
    """

    def __init__(self, patience: WatchdogLimits, on_wedged: Callable[[], None]) -> None:
        self.alarms = 0
        self._patience = patience
        self._on_wedged = on_wedged
        self._beats = 0
        self._ended = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._loop_thread = 0

    def start(self) -> None:
        """Begin watching the running loop."""
        self._loop_thread = threading.get_ident()
        self._beat(asyncio.get_running_loop())
        threading.Thread(target=self._watch, name="loop watchdog", daemon=True).start()

    def stop(self) -> None:
        """End the watch."""
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beats += 1
        self._timer = loop.call_later(self._patience.tick_s, self._beat, loop)

    def _watch(self) -> None:
        seen, silent_ticks = self._beats, 0
        alarm_at = round(self._patience.alarm_s / self._patience.tick_s)
        give_up_at = round(self._patience.give_up_s / self._patience.tick_s)
        while not self._ended.wait(self._patience.tick_s):
            silent_ticks = silent_ticks + 1 if self._beats == seen else 0
            seen = self._beats
            if silent_ticks == alarm_at:
                self._alarm()
            if silent_ticks == give_up_at:
                log.critical("the event loop is wedged: giving up, so that the platform can replace this worker")
                self._on_wedged()

    def _alarm(self) -> None:
        self.alarms += 1
        frame = sys._current_frames().get(self._loop_thread)
        where = "".join(traceback.format_stack(frame)) if frame else "(unknown)\n"
        log.error("the event loop is blocked, no heartbeat is sent; it is in:\n%s", where)
