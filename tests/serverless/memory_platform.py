"""A platform in memory for tests of the queue worker: jobs in, posts out, scripted faults. No HTTP, no clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from worker_vllm.serverless.http.connection import NotSent, PlatformAnswer
from worker_vllm.settings.types import QueueSettings

BASE = "http://platform/v2/ep"
SETTINGS = QueueSettings(
    worker_id="w1",
    take_url=f"{BASE}/job-take/w1?gpu=none",
    done_url=f"{BASE}/job-done/w1/$ID?gpu=none",
    stream_url=f"{BASE}/job-stream/w1/$ID?gpu=none",
    ping_url=f"{BASE}/ping/w1?gpu=none",
    ping_interval_s=1.0,
    drain_timeout_s=1.0,
)

Reply = PlatformAnswer | Exception
OK = PlatformAnswer(200, b"{}")


class MemoryPlatform:
    """Answers takes from `jobs`, stops from `stops`; every post lands in `posts` as (kind, job id, body).

    `on_post` may answer a post by itself: return a PlatformAnswer, raise, or wait for an event of the test.
    """

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.stops: list[str] = []
        self.takes: list[dict[str, str]] = []
        self.pings: list[list[str]] = []
        self.posts: list[tuple[str, str, Any]] = []
        self.take_replies: list[Reply] = []
        self.on_post: Callable[[str, str, Any], Any] | None = None
        self._changed = asyncio.Condition()

    async def get(self, url: str, timeout_s: float) -> PlatformAnswer:
        target = urlsplit(url)
        verb = target.path.split("/")[3]
        query = {name: values[0] for name, values in parse_qs(target.query).items()}
        if verb == "ping":
            await self.note(lambda: self.pings.append(query.get("job_id", "").split(",")))
            return OK
        if verb == "job-stop":
            ids = await self._take_all(self.stops)
            return PlatformAnswer(200, json.dumps({"jobsToStop": ids}).encode())
        await self.note(lambda: self.takes.append(query))
        if self.take_replies:
            reply = self.take_replies.pop(0)
            if isinstance(reply, Exception):
                raise reply
            return reply
        jobs = await self._take_all(self.jobs, int(query.get("batch_size", 1)))
        return PlatformAnswer(200, json.dumps(jobs if "batch_size" in query else jobs[0]).encode())

    async def post(self, url: str, body: Sequence[bytes], timeout_s: float) -> PlatformAnswer:
        parts = urlsplit(url).path.split("/")
        kind, job_id, value = parts[3].removeprefix("job-"), unquote(parts[5]), json.loads(b"".join(body))
        if self.on_post is not None and (reply := await self.on_post(kind, job_id, value)) is not None:
            if isinstance(reply, NotSent):
                raise reply
            await self.note(lambda: self.posts.append((kind, job_id, value)))
            if isinstance(reply, Exception):
                raise reply
            assert isinstance(reply, PlatformAnswer)
            return reply
        await self.note(lambda: self.posts.append((kind, job_id, value)))
        return OK

    def abandon(self, url: str) -> bool:
        """Does nothing: open takes go on."""
        return False

    async def give(self, *jobs: dict[str, Any]) -> None:
        """Queue jobs for the worker."""
        await self.note(lambda: self.jobs.extend(jobs))

    async def stop(self, *job_ids: str) -> None:
        """Cancel jobs."""
        await self.note(lambda: self.stops.extend(job_ids))

    async def until(self, true: Callable[[], bool]) -> None:
        """Return once `true()` holds; checked after every request."""
        async with self._changed:
            await self._changed.wait_for(true)

    def of(self, job_id: str) -> list[tuple[str, Any]]:
        """What was posted for one job: (kind, body) in order."""
        return [(kind, body) for kind, posted_for, body in self.posts if posted_for == job_id]

    def is_done(self, *job_ids: str) -> bool:
        """Whether every one of these jobs has a final result."""
        return set(job_ids) <= {job_id for kind, job_id, _ in self.posts if kind == "done"}

    async def note(self, change: Callable[[], object]) -> None:
        """Make a change and wake every `until`."""
        async with self._changed:
            change()
            self._changed.notify_all()

    async def _take_all(self, source: list[Any], most: int = 100) -> list[Any]:
        async with self._changed:
            await self._changed.wait_for(lambda: bool(source))
            taken = source[:most]
            del source[:most]
            return taken
