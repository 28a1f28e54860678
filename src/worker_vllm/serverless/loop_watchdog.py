"""Detects a blocked event loop, from a thread that the loop must signal regularly."""

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
    """After how long a blocked loop is logged and given up; the thread checks every `tick_s`."""

    tick_s: float = 0.5
    alarm_s: float = 5.0
    give_up_s: float = 120.0


class Watchdog:
    """Watches the running event loop between `start` and `stop`.

    Time counts in the thread's own ticks, so that a frozen process does not count as blocked. After
    `alarm_s` the blocked code is logged, once per blockage; after `give_up_s` `on_wedged` is called in the thread.
    """

    def __init__(self, limits: WatchdogLimits, on_wedged: Callable[[], None]) -> None:
        self.alarms = 0
        self._limits = limits
        self._on_wedged = on_wedged
        self._signals = 0
        self._ended = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._loop_thread = 0

    def start(self) -> None:
        """Start to watch the running loop."""
        self._loop_thread = threading.get_ident()
        self._signal(asyncio.get_running_loop())
        threading.Thread(target=self._watch, name="loop watchdog", daemon=True).start()

    def stop(self) -> None:
        """End the watch."""
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()

    def _signal(self, loop: asyncio.AbstractEventLoop) -> None:
        self._signals += 1
        self._timer = loop.call_later(self._limits.tick_s, self._signal, loop)

    def _watch(self) -> None:
        seen, blocked_ticks = self._signals, 0
        alarm_at = round(self._limits.alarm_s / self._limits.tick_s)
        give_up_at = round(self._limits.give_up_s / self._limits.tick_s)
        while not self._ended.wait(self._limits.tick_s):
            blocked_ticks = blocked_ticks + 1 if self._signals == seen else 0
            seen = self._signals
            if blocked_ticks == alarm_at:
                self._alarm()
            if blocked_ticks == give_up_at:
                log.critical(
                    "the event loop is blocked for %g s: this process exits, so that the platform can replace it",
                    self._limits.give_up_s,
                )
                self._on_wedged()

    def _alarm(self) -> None:
        self.alarms += 1
        frame = sys._current_frames().get(self._loop_thread)
        where = "".join(traceback.format_stack(frame)) if frame else "(unknown)\n"
        log.error("the event loop is blocked, no heartbeat is sent; it is in:\n%s", where)
