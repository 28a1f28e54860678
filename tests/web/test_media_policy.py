"""Addresses that a request asks the engine to fetch, and templates it brings: one policy in http and queue mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.asgi import RecordingApp, call
from tests.support.core import Core
from worker_vllm.engine.interface import EngineRequest, EngineResponse
from worker_vllm.jobs.handler import JobHandler
from worker_vllm.jobs.request.request_policy import find_refusal
from worker_vllm.settings.types import RequestPolicy, Settings
from worker_vllm.web.guard import RequestGuard
from worker_vllm.web.guard_settings import GuardSettings

CHAT = "/v1/chat/completions"
OPEN = GuardSettings()
ADDRESSES = (
    *("http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:8000/v1/models", "http://[::1]/", "http://0/"),
    *("http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://localhost/a.png"),
    *("http://metadata.google.internal/", "http://10.0.0.1/", "http://192.168.0.1/", "http://172.16.0.1/", "//x/a"),
    *(
        "http://allowed.example@127.0.0.1/",
        "http://127.0.0.1\\@allowed.example/",
        "http://allowed.example\\@127.0.0.1/",
    ),
    *(
        "http://allowed.example#@127.0.0.1/\\",
        "http://allowed.example:80@127.0.0.1/",
        "http://allowed.example%00.evil/",
    ),
    *(
        "http://allowed.example.evil.example/",
        "http://evilallowed.example/",
        "http://allowed.example./a",
        "ftp://a/b",
    ),
    *(
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "file://localhost/etc/passwd",
        " file:///etc/passwd",
        "gopher://a/",
    ),
    *(
        "http://①②⑦.0.0.1/",
        "http://ⓛocalhost/",
        "http://allowed.example\t/",
        "\nhttp://allowed.example/",
        "dict://a:1/",
    ),
    *(
        " http://127.0.0.1/",
        "http:/127.0.0.1/",
        "http:127.0.0.1",
        "http:////127.0.0.1",
        "jar:http://a!/",
        "/etc/passwd",
    ),
    *(
        "http://allowed.example\x00@127.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1%25eth0]/",
        "unix:/a",
        "x",
    ),
    *(
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://service.local/",
        "HTTP://intern/",
    ),
)
PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "a part": lambda url: {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    },
    "a part without a type": lambda url: {"messages": [{"role": "user", "content": [{"image_url": url}]}]},
    "a part with an id": lambda url: {
        "messages": [{"role": "user", "content": [{"uuid": "1", "video_url": {"url": url}}]}]
    },
    "a sound": lambda url: {
        "messages": [{"role": "user", "content": [{"type": "audio_url", "audio_url": {"url": url}}]}]
    },
    "a batch": lambda url: {
        "messages": [[{"role": "user", "content": [{"type": "video_url", "video_url": {"url": url}}]}]]
    },
    "a response": lambda url: {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]},
    "a file": lambda url: {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": url}]}]},
    "anthropic": lambda url: {
        "messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": url}}]}]
    },
    "a tool's result": lambda url: {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "tool_result", "content": [{"source": {"type": "url", "url": url}}]}],
            }
        ]
    },
    "inside a tool use": lambda url: {
        "messages": [{"role": "user", "content": [{"type": "tool_use", "uuid": "1", "image_url": url, "input": {}}]}]
    },
    "a document": lambda url: {"documents": [{"content": [{"type": "image_url", "image_url": {"url": url}}]}]},
    "an embedding": lambda url: {"inputs": [{"content": [{"type": "image_url", "image_url": {"url": url}}]}]},
    "a score": lambda url: {"data_1": {"content": [{"type": "video_url", "video_url": {"url": url}}]}},
}
ALLOWED = RequestPolicy(media_domains=("allowed.example",))
ANY = RequestPolicy(media_domains=("*",))


class NoEngine:
    """An engine that must not be asked."""

    async def request(self, request: EngineRequest) -> EngineResponse:
        raise AssertionError(f"asked for {request.path}")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("policy", [RequestPolicy(), ALLOWED], ids=["closed", "one host"])
async def test_no_address_is_fetched_in_either_mode(place: str, policy: RequestPolicy) -> None:
    guard = RequestGuard(RecordingApp(), replace(OPEN, policy=policy))
    queue = Core(JobHandler(NoEngine(), Settings(policy=policy)))
    for address in ADDRESSES:
        body = PLACES[place](address)
        reply = await call(guard, "POST", CHAT, body)
        assert reply.status == 400, address
        failure = (await queue.openai(CHAT, body)).failure
        assert (failure["code"], failure["message"]) == (400, reply.error["message"]), address


@pytest.mark.parametrize("place", PLACES)
def test_a_listed_host_and_data_are_fetched_wherever_they_stand(place: str) -> None:
    for address in (
        "https://allowed.example/a.png?b=c",
        "http://ALLOWED.example:8080",
        "data:image/png;base64,AA",
        "DATA:,",
    ):
        assert find_refusal(PLACES[place](address), ALLOWED) is None, address


def test_an_asterisk_allows_public_hosts_alone() -> None:
    body = PLACES["a part"]
    public = [address for address in ADDRESSES if find_refusal(body(address), ANY) is None]
    assert public == ["http://allowed.example.evil.example/", "http://evilallowed.example/"]
    assert find_refusal(body("https://8.8.8.8/a.png"), ANY) is None


HARMLESS: tuple[dict[str, Any], ...] = (
    {"messages": [{"role": "user", "content": "see http://127.0.0.1/ and file:///etc/passwd"}]},
    {"messages": [{"content": [{"type": "tool_use", "input": {"url": "http://a/", "image_url": "http://a/"}}]}]},
    {"messages": [{"tool_calls": [{"function": {"arguments": {"image_url": "http://a/"}}}]}]},
    {"tools": [{"function": {"parameters": {"properties": {"image_url": {"type": "string"}}}}}]},
    {"messages": [{"content": [{"type": "search_result", "source": "http://a/", "content": []}]}]},
    {"messages": [{"content": [{"type": "image", "image": "aGVsbG8="}]}], "metadata": {"image_url": "http://a/"}},
    {"chat_template_kwargs": {"enable_thinking": False}, "chat_template": None, "mm_processor_kwargs": {}},
)


@pytest.mark.parametrize("body", HARMLESS, ids=range(len(HARMLESS)))
def test_an_address_that_nobody_fetches_is_left_alone(body: dict[str, Any]) -> None:
    assert find_refusal(body, RequestPolicy()) is None


@pytest.mark.parametrize(
    ("job", "variable"),
    [
        ({"messages": PLACES["a part"]("http://10.0.0.1/")["messages"]}, "ALLOWED_MEDIA_DOMAINS"),
        ({"messages": [{"role": "user", "content": "a"}], "chat_template": "{{ 1 }}"}, "TRUST_REQUEST_CHAT_TEMPLATE"),
    ],
)
async def test_native_jobs_follow_the_same_policy(job: dict[str, Any], variable: str) -> None:
    result = await Core(JobHandler(NoEngine(), Settings())).run(job)
    assert variable in result.failure["message"]


@pytest.mark.parametrize("field", ["images", "audio", "videos"])
async def test_the_media_of_a_decision_follow_the_same_policy(field: str) -> None:
    """/v1/systemone takes lists of addresses; data passes."""
    body = {"state": "a", "questions": {"q": {"type": "predicate"}}, field: ["data:,", "http://10.0.0.1/a"]}
    reply = await call(RequestGuard(RecordingApp(), OPEN), "POST", "/v1/systemone", body)
    assert (reply.status, reply.error["param"]) == (400, field)
    failure = (await Core(JobHandler(NoEngine(), Settings())).openai("/v1/systemone", body)).failure
    assert (failure["code"], failure["param"]) == (400, field)
    reply = await call(RequestGuard(RecordingApp(), OPEN), "POST", "/v1/systemone", {**body, field: ["data:,"]})
    assert reply.status == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/tokenize", "/pooling", "/score", "/v1/responses"])
async def test_a_template_is_refused_on_every_route_that_may_render_one(path: str) -> None:
    body = {"model": "m", "prompt": "a", "messages": [], "chat_template": "{{ 1 }}"}
    reply = await call(RequestGuard(RecordingApp(), OPEN), "POST", path, body)
    assert (reply.status, reply.error["param"]) == (400, "chat_template")
    failure = (await Core(JobHandler(NoEngine(), Settings())).openai(path, body)).failure
    assert (failure["code"], failure["param"]) == (400, "chat_template")
    assert (await call(RequestGuard(RecordingApp(), OPEN), "POST", "/v1/completions", body)).status == 200
