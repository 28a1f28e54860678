"""The rarer routes of a generating model, on the real engine through gateway and worker: the engine's own answers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.compare import Seen, same
from tests.support.http import Http
from tests.support.stack import Stack

pytestmark = pytest.mark.vllm

SCORING = "/generative_scoring"
ROUTES: list[tuple[str, dict[str, Any]]] = [
    (
        "/v1/chat/completions/batch",
        {"messages": [[{"role": "user", "content": text}] for text in ("abc", "xyz")], "temperature": 0},
    ),
    (SCORING, {"query": "abc", "items": ["a", "b"], "label_token_ids": [97, 98]}),
    ("/detokenize", {"tokens": [97, 98, 99]}),
]


SLOW = {SCORING: [pytest.mark.matrix]}  # six seconds an answer on a CPU
CASES = [pytest.param(route, body, id=route, marks=SLOW.get(route, [])) for route, body in ROUTES]


@pytest.mark.parametrize(("route", "body"), CASES)
async def test_an_answer_is_the_engines_own(real_stack: Stack, route: str, body: dict[str, Any]) -> None:
    """As an OpenAI client's request and as a job: an object, not a text."""
    async with Http(real_stack.engine_url) as engine, Http(real_stack.url) as http:
        direct = Seen.of(await engine.post(route, body))
        client = Seen.of(await http.post(f"/openai{route}", body))
        job = await http.post("/runsync", {"input": {"route": route, "body": body}})
    assert direct.status == client.status == 200
    assert same(client.value, direct.value)
    [output] = job.json["output"]
    assert isinstance(output, dict)
    assert output.keys() >= direct.value.keys()


async def test_what_a_decoder_cannot_do_is_refused_by_the_engine(real_stack: Stack) -> None:
    """Open routes that this model has not: a 4xx, never a success and never a fault of the worker."""
    async with Http(real_stack.url) as http:
        for route in ("/v1/embeddings", "/rerank", "/v1/audio/speech", "/classify"):
            answer = await http.post(f"/openai{route}", {"model": "parrot", "input": "x"})
            assert 400 <= answer.status < 500, (route, answer)


async def test_log_probabilities_and_reasons_stand_beside_native_tokens(real_stack: Stack) -> None:
    """Only when asked for; the shape is the specified one otherwise."""
    sampling = {"temperature": 0, "max_tokens": 3}
    plain = {"messages": "abc", "sampling_params": sampling}
    more = {
        "messages": "abc",
        "sampling_params": {**sampling, "logprobs": 1},
        "include": ["finish_reason", "token_ids"],
    }
    async with Http(real_stack.url) as http:
        [bare] = (await http.post("/runsync", {"input": plain})).json["output"]
        [full] = (await http.post("/runsync", {"input": more})).json["output"]
    assert bare["choices"] == [{"tokens": ["abc"]}]
    [choice] = full["choices"]
    assert (choice["tokens"], choice["finish_reason"], choice["token_ids"]) == (["abc"], "length", [97, 98, 99])
    assert choice["logprobs"]["tokens"] == ["a", "b", "c"]
