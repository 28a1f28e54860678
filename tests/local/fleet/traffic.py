"""Constant traffic through the load balancer: clients that ask without a pause, every request accounted for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from tests.local.fleet.stack import FleetStack

CHAT = "/lb/local/v1/chat/completions"
ID = "X-Runpod-Worker-Id"


@dataclass(slots=True)
class Clients:
    """Clients that ask without a pause; every request is accounted for."""

    url: str
    model: str
    answered: Counter[str] = field(default_factory=Counter)  # by worker
    lost: list[str] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, client: int, stream: bool) -> None:
        """One client: the answer must be its own prompt, whole."""
        async with aiohttp.ClientSession() as session:
            number = 0
            while not self._stop.is_set():
                number += 1
                prompt = f"client {client} asks {number}"
                message = {"role": "user", "content": prompt}
                body = {"model": self.model, "messages": [message], "max_tokens": 64, "temperature": 0}
                try:
                    async with session.post(self.url + CHAT, json={**body, "stream": stream}) as response:
                        text, worker = await response.text(), response.headers.get(ID, "")
                except (aiohttp.ClientError, OSError) as error:
                    self.lost.append(f"{prompt}: {error!r}")
                    continue
                whole = text.rstrip().endswith("[DONE]") if stream else f'"content":"{prompt}"' in text
                if response.status == 200 and whole:
                    self.answered[worker] += 1
                else:
                    self.lost.append(f"{prompt}: {response.status} {text}")

    async def more(self, count: int) -> None:
        """Wait until so many more requests have ended."""
        target = sum(self.answered.values()) + len(self.lost) + count
        while sum(self.answered.values()) + len(self.lost) < target:
            await asyncio.sleep(0.01)

    def stop(self) -> None:
        """End after the requests that run."""
        self._stop.set()


@asynccontextmanager
async def traffic(
    stack: FleetStack, clients: int, *, stream: bool = False, model: str = "echo"
) -> AsyncIterator[Clients]:
    """So many clients for the length of the block."""
    asking = Clients(stack.http.url, model)
    async with asyncio.TaskGroup() as tasks:
        for number in range(clients):
            tasks.create_task(asking.ask(number, stream))
        try:
            yield asking
        finally:
            asking.stop()
