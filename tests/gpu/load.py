"""Many streams at once against one chat server, and what they came to."""

from __future__ import annotations

import asyncio
import itertools
import re
import statistics
import time
from dataclasses import dataclass
from typing import Any

from tests.support.http import Http

PROMPT_WORDS, TOKENS = 200, 128
_USAGE = re.compile(rb'"completion_tokens": ?(\d+)')


@dataclass(frozen=True)
class Load:
    """Figures of one load: tokens per second of all streams together, medians of the first token and of a gap."""

    streams: int
    tokens_per_s: float
    first_token_ms: float
    gap_ms: float

    def __str__(self) -> str:
        return f"{self.tokens_per_s:.0f} tokens/s, first {self.first_token_ms:.0f} ms, gap {self.gap_ms:.1f} ms"


async def _stream(http: Http, path: str, body: dict[str, Any]) -> list[float]:
    """When each content event of a stream arrived, its start first; the token count must be exact."""
    times, tokens = [time.monotonic()], 0
    async with http.open("POST", path, body) as answer:
        assert answer.status == 200, await answer.text()
        async for line in answer.content:
            if line.startswith(b"data: {"):
                times.append(time.monotonic())
                tokens = int(found.group(1)) if (found := _USAGE.search(line)) else tokens
    assert tokens == TOKENS
    return times


async def measure(url: str, path: str, model: str, streams: int) -> Load:
    """Run so many streams at once, each of exactly the same length."""
    words = [f"{number} {' word' * PROMPT_WORDS}" for number in range(streams)]  # no shared prefix
    bodies = [
        {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": TOKENS,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        for text in words
    ]
    async with Http(url) as http:
        began = time.monotonic()
        arrived = await asyncio.gather(*(_stream(http, path, body) for body in bodies))
        seconds = time.monotonic() - began
    firsts = [times[1] - times[0] for times in arrived]
    gaps = [later - earlier for times in arrived for earlier, later in itertools.pairwise(times[1:])]
    return Load(
        streams, streams * TOKENS / seconds, 1000 * statistics.median(firsts), 1000 * statistics.median(gaps or [0.0])
    )
