"""Progress by looking at the disk: true whatever way of transfer the hub's library has chosen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def every(interval_s: float, say: Callable[[], None]) -> Iterator[None]:
    """Call `say` from a thread every few seconds until the block ends."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(interval_s):
            say()

    watcher = threading.Thread(target=watch, daemon=True, name="download-progress")
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def told_size(count: int) -> str:
    """Bytes as people read them: 15.2 GB, 3.1 MB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
