"""One request to an OpenAI route, measured as its bytes arrive."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from worker_vllm.bench.load_plan import LoadPlan, PlannedRequest
from worker_vllm.bench.samples import Sample
from worker_vllm.bench.targets import BenchTarget

CONTENT = re.compile(rb'"(?:content|text|reasoning|reasoning_content)"\s*:\s*"(?!")')
STAMP = re.compile(rb"@(\d+\.\d{6}) ")
EVENT = b"data: {"
KEPT_BYTES = 4096  # of the end of a stream: the usage and the end mark are in it


class StreamReader:
    """Follows a stream of server-sent events without decoding each: first content, gaps, ages, usage at the end."""

    def __init__(self, sample: Sample, clock: Callable[[], float]) -> None:
        self._sample = sample
        self._clock = clock
        self._last: float | None = None
        self._contents = 0  # the tokens, where the target reports no usage
        self._tail = b""
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Bytes that have just arrived."""
        now = self._clock()
        self._tail = (self._tail + data)[-KEPT_BYTES:]
        end = 0
        text = self._rest + data
        for match in STAMP.finditer(text):
            self._sample.ages.append(now - float(match[1]))
            end = match.end()
        self._rest = text[max(end, len(text) - 32) :]
        if not (contents := len(CONTENT.findall(data))):
            return
        self._contents += contents
        if self._last is None:
            self._sample.first_at = now
        else:
            self._sample.gaps.append(now - self._last)
        self._last = now

    def close(self) -> None:
        """The stream has ended: take the usage, note an error event or a missing end."""
        self._sample.ended_at = self._clock()
        for line in reversed(self._tail.split(b"\n")):
            if line.startswith(EVENT) and (event := json_object(line[6:])) is not None:
                if error := event.get("error"):
                    self._sample.failure = failure_text(error)
                    return
                if usage := event.get("usage"):
                    self._sample.output_tokens = int(usage.get("completion_tokens") or 0)
                    self._sample.prompt_tokens = int(usage.get("prompt_tokens") or 0)
                    break
        if b"[DONE]" not in self._tail:
            self._sample.failure = "the stream ended without [DONE]"
        elif not self._sample.output_tokens:
            self._sample.output_tokens = self._contents


def body(target: BenchTarget, plan: LoadPlan, request: PlannedRequest) -> dict[str, object]:
    """The JSON body of a request."""
    found: dict[str, object] = {"model": target.model, "max_tokens": request.output_tokens, "stream": plan.stream}
    if plan.chat:
        found["messages"] = [{"role": "user", "content": request.prompt}]
    else:
        found["prompt"] = request.prompt
    if plan.ignore_eos:
        found["ignore_eos"] = True
    if plan.stream:
        found["stream_options"] = {"include_usage": True}
    return found


async def ask_openai(
    session: aiohttp.ClientSession, target: BenchTarget, plan: LoadPlan, request: PlannedRequest
) -> Sample:
    """Send one request and read its whole answer. Failures are noted in the sample, never raised."""
    sample = Sample(time.monotonic())
    url = f"{target.url}/{'chat/completions' if plan.chat else 'completions'}"
    try:
        async with session.post(url, json=body(target, plan, request), headers=headers(target)) as answer:
            if answer.status != 200:
                sample.failure = f"HTTP {answer.status}: {failure_text(await answer.text())}"
            elif plan.stream:
                reader = StreamReader(sample, time.monotonic)
                async for data in answer.content.iter_any():
                    reader.feed(data)
                reader.close()
            else:
                _whole(sample, await answer.read())
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        sample.failure = f"{type(error).__name__}: {error}"[:200]
    return sample


def headers(target: BenchTarget) -> Mapping[str, str]:
    """The authorization, where there is a key."""
    return {"Authorization": f"Bearer {target.key}"} if target.key else {}


def _whole(sample: Sample, data: bytes) -> None:
    sample.first_at = sample.ended_at = time.monotonic()
    usage = (json_object(data) or {}).get("usage") or {}
    sample.output_tokens = int(usage.get("completion_tokens") or 0)
    sample.prompt_tokens = int(usage.get("prompt_tokens") or 0)


def json_object(data: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def failure_text(error: object) -> str:
    """A short, comparable text of an error: equal failures are counted together."""
    if isinstance(error, str) and (loaded := json_object(error.encode())):
        error = loaded.get("error", loaded)
    if isinstance(error, dict):
        error = error.get("message", error)
    return " ".join(str(error).split())[:160]
