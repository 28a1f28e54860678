"""A raw job becomes a typed job, or a typed error whose message states what to change."""

from __future__ import annotations

from typing import Any

import pytest

from worker_vllm.errors import RequestError, WorkerError
from worker_vllm.jobs.output.batching import BatchPolicy
from worker_vllm.jobs.request.native import NativeJob
from worker_vllm.jobs.request.parse import RouteJob, parse_job
from worker_vllm.jobs.request.routes import DATA_ROUTES, find_route
from worker_vllm.settings.types import JobSettings

CHAT = "/v1/chat/completions"


def parsed(given: Any, **settings: Any) -> Any:
    return parse_job({"id": "job", "input": given}, JobSettings(**settings))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"openai_route": CHAT, "openai_input": {"a": 1}}, {"a": 1}),
        ({"openai_route": CHAT}, {}),
        ({"openai_route": CHAT, "openai_input": None, "prompt": "ignored"}, {}),
        ({"openai_route": CHAT, "openai_input": [1]}, [1]),
        ({"route": CHAT, "body": {"a": 1}, "method": "POST"}, {"a": 1}),
        ({"route": "/v1/models", "method": "get"}, None),
        ({"openai_route": "/v1/models", "openai_input": {}}, None),
    ],
)
def test_a_route_job_carries_its_body(given: dict[str, Any], expected: Any) -> None:
    """The method follows from the route; a GET has no body whatever the platform sends."""
    job = parsed(given)
    assert isinstance(job, RouteJob)
    assert job.body == expected
    assert job.batches is None


@pytest.mark.parametrize(
    ("given", "settings", "policy"),
    [
        ({}, {}, None),
        ({"max_batch_size": 5}, {}, BatchPolicy(5, 1, 3.0)),
        ({}, {"batch_sizes_set": True, "batch_size": 7}, BatchPolicy(7, 1, 3.0)),
        ({}, {"raw_openai_output": False}, BatchPolicy(50, 1, 3.0)),
        ({"max_batch_size": 0, "min_batch_size": None, "batch_size_growth_factor": ""}, {}, None),
    ],
    ids=["as they come", "the request's", "the operator's", "lists", "zero means the default"],
)
def test_openai_streams_have_exact_sizes_where_the_job_asks(
    given: dict[str, Any], settings: dict[str, Any], policy: BatchPolicy | None
) -> None:
    job = parsed({"openai_route": CHAT, "openai_input": {}, **given}, **settings)
    assert job.batches == policy


@pytest.mark.parametrize(
    ("given", "status", "message"),
    [
        (None, 400, "input: expected an object, got NoneType"),
        ("hi", 400, "input: expected an object, got str"),
        ({}, 400, 'input: expected "prompt" (a text) or "messages" (a list of messages), got neither'),
        ({"prompt": None}, 400, 'input: expected "prompt" (a text) or "messages" (a list of messages), got neither'),
        (
            {"prompt": ["a", "b"]},
            400,
            "prompt: expected a text, a list of token ids or a list of messages, got ['a', 'b']",
        ),
        ({"prompt": 5}, 400, "prompt: expected a text, a list of token ids or a list of messages, got 5"),
        ({"messages": []}, 400, "messages: expected a text or a list of messages, got []"),
        ({"messages": 7, "prompt": "x"}, 400, "messages: expected a text or a list of messages, got 7"),
        ({"prompt": "x", "temperature": 1}, 400, 'temperature: belongs into "sampling_params"'),
        (
            {"prompt": "x", "sampling_param": {}},
            400,
            "sampling_param: not a field of a native job; did you mean sampling_params?",
        ),
        (
            {"prompt": "x", "temprature": 1},
            400,
            'temprature: not a field of a native job; did you mean temperature in "sampling_params"?',
        ),
        (
            {"prompt": "x", "max_token": 1},
            400,
            'max_token: not a field of a native job; did you mean max_tokens in "sampling_params"?',
        ),
        (
            {"prompt": "x", "sampling_params": {"topp": 1}},
            400,
            "sampling_params.topp: not a sampling parameter; did you mean top_p?",
        ),
        (
            {"prompt": "x", "sampling_params": {"presense_penalty": 1}},
            400,
            "sampling_params.presense_penalty: not a sampling parameter; did you mean presence_penalty?",
        ),
        (
            {"prompt": "x", "topp": 1},
            400,
            'topp: not a field of a native job; did you mean top_p in "sampling_params"?',
        ),
        (
            {"prompt": "x", "presense_penalty": 1},
            400,
            'presense_penalty: not a field of a native job; did you mean presence_penalty in "sampling_params"?',
        ),
        ({"prompt": "x", "zzz": 1}, 400, "zzz: not a field of a native job"),
        (
            {"openai_route": "/tokenizer_info"},
            404,
            "/tokenizer_info is closed on this endpoint; ENABLE_TOKENIZER_INFO_ENDPOINT=1 opens it",
        ),
        (
            {"prompt": "x", "max_batch_size": "many"},
            400,
            "max_batch_size: expected a number of tokens, 0 or more, got 'many'",
        ),
        (
            {"prompt": "x", "min_batch_size": -1},
            400,
            "min_batch_size: expected a number of tokens, 0 or more, got -1",
        ),
        (
            {"prompt": "x", "batch_size_growth_factor": float("inf")},
            400,
            "batch_size_growth_factor: expected a number of tokens, 0 or more, got inf",
        ),
        (
            {"prompt": "x", "include": ["all"]},
            400,
            "include: expected a list out of finish_reason, token_ids, got ['all']",
        ),
        ({"prompt": "x", "tools": [{}]}, 400, "tools: need messages, or a prompt with apply_chat_template"),
        ({"route": CHAT, "method": "GET"}, 400, "/v1/chat/completions takes POST, got 'GET'"),
        (
            {"openai_route": "/v1/nothing"},
            404,
            "the route '/v1/nothing' is not open to jobs; open are: "
            + ", ".join(route.path for route in DATA_ROUTES),
        ),
        (
            {"openai_route": "/v1/chat/completions/render"},
            404,
            "/v1/chat/completions/render is not open to jobs: it serves front ends that are split from the engine; "
            "/tokenize answers a prompt's tokens",
        ),
        (
            {"openai_route": "/v1/load_lora_adapter"},
            404,
            "/v1/load_lora_adapter is closed on this endpoint; VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 opens it",
        ),
    ],
)
def test_the_error_of_a_wrong_job_states_what_to_change(given: Any, status: int, message: str) -> None:
    with pytest.raises(WorkerError) as refused:
        parsed(given)
    assert isinstance(refused.value, RequestError)
    assert (refused.value.status, refused.value.message) == (status, message)


@pytest.mark.parametrize("empty", [None, ""])
@pytest.mark.parametrize("key", ["openai_route", "route", "openai_input", "body", "method"])
def test_an_empty_field_of_another_form_is_absent(key: str, empty: str | None) -> None:
    """Clients that send every field leave the fields of the other forms empty."""
    job = parsed({"prompt": "x", key: empty})
    assert isinstance(job, NativeJob)
    assert job.prompt == "x"


def test_the_tokenizers_route_is_open_where_its_flag_is_set() -> None:
    job = parsed({"openai_route": "/tokenizer_info"}, tokenizer_info=True)
    assert (job.route.method, job.route.path, job.body) == ("GET", "/tokenizer_info", None)


def test_every_open_route_is_found_by_its_own_spelling_alone() -> None:
    for route in DATA_ROUTES:
        assert find_route(route.path) is route
        for other in (route.path + "/", route.path.upper(), "/" + route.path, route.path[1:], f" {route.path}"):
            with pytest.raises(WorkerError):
                find_route(other)
