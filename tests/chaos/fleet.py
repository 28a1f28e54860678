"""The workers of a chaos run, each with an echo engine of its own, and what happens to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.support.attached import START, worker_environment
from tests.support.processes import Process

ENGINE = {"ENGINE": "echo", "ECHO_TPOT_MS": "3", "ECHO_TTFT_MS": "5", "ECHO_MAX_NUM_SEQS": "16"}


class Fleet:
    """Workers attached to one endpoint; whatever is ended is replaced by a worker of a new name."""

    def __init__(self, endpoint_url: str) -> None:
        self._url = endpoint_url
        self._count = 0
        self.workers: list[Process] = []
        self.exit_codes: list[int] = []

    def add(self) -> Process:
        """Start one more worker."""
        self._count += 1
        environment = {**worker_environment(self._url, f"w{self._count}"), **ENGINE, "DRAIN_TIMEOUT": "10"}
        self.workers.append(Process(START, environment))
        return self.workers[-1]

    async def terminate(self) -> None:
        """SIGTERM for the oldest worker, with a replacement; it must end with 0."""
        worker = self.workers.pop(0)
        self.add()
        worker.signal(signal.SIGTERM)
        self.exit_codes.append(await asyncio.to_thread(worker.exit_code, 40))

    async def kill(self) -> None:
        """kill -9 for the oldest worker, with a replacement."""
        worker = self.workers.pop(0)
        worker.signal(signal.SIGKILL)
        self.add()
        await asyncio.to_thread(worker.exit_code, 20)

    async def kill_engine(self) -> None:
        """kill -9 for the engine of the oldest worker, which starts another."""
        for pid in descendants(self.workers[0].pid):
            if b"worker_vllm.echo" in command_of(pid) and b"guard.py" not in command_of(pid):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End every worker."""
        for worker in self.workers:
            worker.stop()

    def output(self) -> str:
        """What the workers that are left have logged."""
        return "\n".join(f"== {worker.pid}\n{worker.output()[-4000:]}" for worker in self.workers)


@contextlib.contextmanager
def fleet(endpoint_url: str, workers: int) -> Iterator[Fleet]:
    """A fleet of so many workers for the length of the block."""
    started = Fleet(endpoint_url)
    try:
        for _ in range(workers):
            started.add()
        yield started
    finally:
        started.stop()


def descendants(pid: int) -> list[int]:
    """Every process below one, children first."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = list(parents.get(pid, []))
    for child in found:
        found += parents.get(child, [])
    return found


def command_of(pid: int) -> bytes:
    """The command line of a process, empty when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
