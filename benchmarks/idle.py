"""What an idle worker costs: against a platform that holds polls, and against one that answers 204 at once."""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.cpu import cpu_s
from tests.support.attached import worker_environment
from tests.support.paths import OWN_WORKER
from tests.support.processes import running

NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks idle", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    for name, hold_s in (("holds polls for 20 s", 20.0), ("answers at once", 0.0)):
        with platform(hold_s) as (url, asked):
            with running([sys.executable, str(OWN_WORKER)], worker_environment(url, "w1", ping_ms=10_000)) as worker:
                time.sleep(8)  # started, and its back-off settled
                cpu, polls = cpu_s(worker.pid), len(asked)
                time.sleep(given.seconds)
                used = cpu_s(worker.pid) - cpu
                polls = len(asked) - polls
        print(f"platform {name}: {100 * used / given.seconds:.2f}% of a core, {polls / given.seconds:.1f} requests/s")


@contextmanager
def platform(hold_s: float) -> Iterator[tuple[str, list[bytes]]]:
    """A platform without jobs, in a thread: its endpoint's address, and every request line so far."""
    loop, asked = asyncio.new_event_loop(), list[bytes]()
    ready: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                asked.append(head.split(b"\r\n", 1)[0])
                if b"/ping/" not in head:
                    await asyncio.sleep(hold_s)
                writer.write(NOTHING)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def listen() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        ready.append(server.sockets[0].getsockname()[1])

    loop.run_until_complete(listen())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{ready[0]}/v2/idle", asked
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
