"""A failure during delivery is reported in the error format of the route that was requested."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from tests.serverless.conftest import Serve
from tests.serverless.memory_platform import MemoryPlatform
from worker_vllm.jobs.output.output import Output

LATE = "the job ran longer than its executionTimeout of 0.05 s"


async def endless(job: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
    """A handler whose jobs yield one event and then never end."""
    yield Output(b"event: ping\ndata: {}\n\n", sse=True, mergeable=True)
    await asyncio.Event().wait()


@pytest.mark.parametrize("key", ["openai_route", "route"])
async def test_an_execution_timeout_on_anthropics_route_has_its_form(
    platform: MemoryPlatform, serve: Serve, key: str
) -> None:
    """In the stream and as the job's error; nothing of OpenAI's, whose clients end a stream with `[DONE]`."""
    serve(endless)
    await platform.give({"id": "a", "input": {key: "/v1/messages"}, "policy": {"executionTimeout": 50}})
    await platform.until(lambda: platform.is_done("a"))
    _, (_, last), (_, result) = platform.of("a")
    expected = {"type": "error", "error": {"type": "timeout_error", "message": LATE}}
    assert json.loads(result["error"]) == expected
    first_line, second_line, *rest = last["output"].split("\n")
    assert first_line == "event: error"
    assert json.loads(second_line.removeprefix("data: ")) == expected
    assert rest == ["", ""]
