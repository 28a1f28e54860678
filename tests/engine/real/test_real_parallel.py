"""One model in two processes of the real CPU engine, tensor and pipeline parallel: same answers as in one."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace

import pytest

from tests.support.engines.supervised import REAL, TWO_PARTS, Supervised, supervised
from worker_vllm.engine.interface import EngineState
from worker_vllm.settings.types import EngineSettings

pytestmark = [pytest.mark.vllm, pytest.mark.matrix, pytest.mark.timeout(400)]

MESSAGES = (
    "hello",
    "Grüße aus Köln",
    '{"a": [1, 2, 3]}',
    "🦜🦜",
    "for i in range(9): print(i)",
    "x = 1",
    "déjà vu",
    "7 * 6",
)
TWO_STAGES = replace(TWO_PARTS, arguments=("--pipeline-parallel-size", "2"))


async def answer(run: Supervised, message: str) -> str:
    body = {"model": "parrot", "messages": [{"role": "user", "content": message}], "temperature": 0, "max_tokens": 64}
    response = await run.post("/v1/chat/completions", json.dumps(body).encode())
    text: str = json.loads(await response.read())["choices"][0]["message"]["content"]
    return text


@pytest.mark.parametrize("settings", [REAL, TWO_PARTS, TWO_STAGES], ids=["one process", "tensor", "pipeline"])
async def test_every_arrangement_gives_the_same_answers(settings: EngineSettings) -> None:
    """The embedded model's correct answer is the message itself; all requests run at once."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")}
    async with supervised(settings, only=environment) as run:
        assert await run.supervisor.wait_until_decided() is EngineState.READY, run.supervisor.diagnosis
        assert await asyncio.gather(*(answer(run, message) for message in MESSAGES)) == list(MESSAGES)
