"""No error contains a secret of the environment, and the model list contains no local path."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.core import Core
from worker_vllm.engine.interface import EngineRequest, EngineResponse
from worker_vllm.errors import EngineReportedError, EngineUnavailable
from worker_vllm.jobs.handler import JobHandler
from worker_vllm.jobs.output import sse
from worker_vllm.settings.load import load
from worker_vllm.settings.redaction import Redactor
from worker_vllm.settings.types import Settings

CANARY = 'canary-7f3a9c"x'
CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
EVENTS = {"content-type": "text/event-stream"}


@dataclass
class Canned:
    """A response whose body is already complete."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.body

    async def read(self) -> bytes:
        return self.body

    def close(self) -> None:
        pass


@dataclass
class CannedEngine:
    """An engine that always returns one response, or raises."""

    answer: Canned | Exception

    async def request(self, request: EngineRequest) -> EngineResponse:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def core(answer: Canned | Exception, settings: Settings) -> Core:
    """A worker whose engine returns this response or raises this error."""
    return Core(JobHandler(CannedEngine(answer), settings))


@pytest.mark.parametrize("name", ["HF_TOKEN", "HF_TOKENS", "WANDB_API_KEY"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        EngineUnavailable(f"the engine died: Illegal header value b'Bearer {CANARY}'"),
        RuntimeError(f"{CANARY} is no header"),
        EngineReportedError(
            400, {"message": f"bad {CANARY}", "type": "BadRequestError", "param": CANARY, "code": 400}
        ),
        Canned(json.dumps({"error": {"message": f"bad {CANARY}", "code": 400}}).encode(), status=400),
        Canned(b"garbage " + CANARY.encode()),
        Canned(sse.event({"error": {"message": f"bad {CANARY}", "code": 500}}), headers=EVENTS),
    ],
    ids=["diagnosis", "fault", "answer", "status", "garbage", "event"],
)
async def test_no_error_of_a_job_holds_a_secret(name: str, stream: bool, fault: Canned | Exception) -> None:
    """Neither the job's own error nor the error event of the stream, in whichever variable the secret is."""
    settings = load({"MODEL_NAME": "org/m", name: CANARY, "IGNORE_ENV": name})
    result = await core(fault, settings).openai(CHAT, {**ASK, "stream": stream})
    native = await core(fault, settings).run({"prompt": "hello"})
    for each in (result, native):
        if each.error is not None:
            reported = json.loads(each.error.to_json())
            assert "canary" not in json.dumps(reported)
            assert set(reported) >= {"message", "code"}
        if each.error is not None or not isinstance(fault, Canned):
            assert b"canary" not in each.text


def test_a_secret_that_is_a_word_of_the_error_leaves_its_form_intact() -> None:
    """API_KEY=message must not rename the key."""
    error = EngineUnavailable("a message")
    error.redact(Redactor(load({"MODEL_NAME": "m", "API_KEY": "message"}).secrets).value)
    assert error.error == {"message": "a ***", "type": "ServiceUnavailableError", "param": None, "code": 503}


SNAPSHOT = "/runpod-volume/huggingface-cache/hub/models--org--m/snapshots/0a1b2c"


@pytest.mark.parametrize(
    ("env", "cards", "roots"),
    [
        (
            {"MODEL_NAME": "org/m", "SERVED_MODEL_NAME": "gpt"},
            [{"id": "gpt", "root": SNAPSHOT, "parent": None}, {"id": "org/m", "root": SNAPSHOT, "parent": None}],
            ["org/m", "org/m"],
        ),
        (
            {"MODEL_NAME": "/models/parrot"},
            [
                {"id": "parrot", "root": "/models/parrot", "parent": None},
                {"id": "up", "root": "/hub/models--org--upper/snapshots/0a", "parent": "parrot"},
                {"id": "low", "root": "/adapters/lower", "parent": "parrot"},
            ],
            ["parrot", "org/upper", "lower"],
        ),
        ({"MODEL_NAME": "org/m"}, [{"id": "org/m", "root": "org/m"}, {"id": "x"}, 5], ["org/m", None, None]),
        ({"ENGINE_URL": "http://h"}, [{"id": "a", "root": "/w/other", "parent": None}], ["other"]),
    ],
    ids=["cache", "paths and adapters", "odd cards", "attached"],
)
async def test_the_model_list_names_repositories_and_no_paths(
    env: dict[str, str], cards: list[Any], roots: list[str | None]
) -> None:
    """vLLM lists as `root` the directory that it was started with."""
    body = {"object": "list", "data": cards}
    result = await core(Canned(json.dumps(body).encode()), load(env)).openai("/v1/models")
    assert [card.get("root") if isinstance(card, dict) else None for card in result.value["data"]] == roots
    kept = [
        {**card, "root": root} if isinstance(card, dict) and root else card
        for card, root in zip(cards, roots, strict=True)
    ]
    assert result.value == {"object": "list", "data": kept}


async def test_a_model_list_that_is_no_json_goes_through() -> None:
    """This module does not report errors of the engine's response."""
    result = await core(Canned(b"[1, 2]"), load({"MODEL_NAME": "m"})).openai("/v1/models")
    assert result.value == [1, 2]
