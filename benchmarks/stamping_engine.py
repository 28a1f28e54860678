"""`python -m benchmarks.stamping_engine --uds PATH …`: the echo engine, each token's text being the time it was made.

Times are the machine's monotonic clock in seconds, so that the reader of a token knows its age.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from worker_vllm.echo.__main__ import arguments
from worker_vllm.echo.app import EchoApp, Options
from worker_vllm.echo.control import Control
from worker_vllm.echo.generation import Delta, Generation
from worker_vllm.echo.runner import Runner
from worker_vllm.echo.server import EchoServer


class StampingRunner(Runner):
    """Writes the time into every token."""

    async def run(self, generation: Generation) -> AsyncGenerator[list[Delta], None]:
        """The deltas of each engine step, their texts replaced."""
        async with aclosing(super().run(generation)) as steps:
            async for step in steps:
                text = f"@{time.monotonic():.6f} "
                yield [delta._replace(text=text) for delta in step]


class StampingApp(EchoApp):
    """An echo engine whose tokens are times."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.runner = StampingRunner(self.scheduler)
        self.control = Control(self.runner, options.script)


def main(argv: Sequence[str]) -> None:
    """Serve until stopped; takes the echo engine's options."""
    options, start, _ = arguments(argv, os.environ)

    def announce() -> None:
        print(f"echo engine: serving with time stamps at {start.address}", flush=True)

    EchoServer(StampingApp(options), start.address, announce, keep_alive_s=60).run()


if __name__ == "__main__":
    main(sys.argv[1:])
