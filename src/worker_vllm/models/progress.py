"""Periodic progress reports, and sizes formatted for people."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def call_every(interval_s: float, report: Callable[[], None]) -> Iterator[None]:
    """Call `report` from a thread every `interval_s` seconds until the block ends."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(interval_s):
            report()

    watcher = threading.Thread(target=watch, daemon=True, name="download-progress")
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def format_size(count: int) -> str:
    """A number of bytes as text: 15.2 GB, 3.1 MB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
