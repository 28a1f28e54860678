"""The guard inside vLLM's own server: it is loaded, it is the outermost layer, and streams pass it unbuffered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.engines.real import real_engine_process
from tests.support.http import Http
from worker_vllm.web.guard_settings import MIDDLEWARE, VARIABLE, GuardSettings, digest, write

CHAT = "/v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": "one two three four"}], "max_tokens": 24, "temperature": 0}
REMOTE = {
    "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}}]}]
}


@pytest.mark.vllm
async def test_the_guard_is_vllms_outermost_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = GuardSettings(
        key_digests=(digest("right-key"),), translate=True, served_name="parrot", repository="o/p"
    )
    for name, value in write(settings, str(tmp_path / "guard.json")).items():
        monkeypatch.setenv(name, value)
    assert VARIABLE.startswith("WORKER_VLLM_")
    key = {"Authorization": "Bearer right-key"}
    with real_engine_process({}, "--middleware", MIDDLEWARE) as url:
        async with Http(url) as stranger, Http(url, key) as client:
            assert (await stranger.post(CHAT, ASK)).status == 401
            assert (await stranger.get("/health")).status == 200
            assert (await stranger.get("/ping")).status == 200
            closed = (
                "/metrics",
                "/version",
                "/docs",
                "/openapi.json",
                "/invocations",
                "/v1/chat/completions/",
                "/load",
            )
            assert {(await client.get(path)).status for path in closed} == {404}
            answer = await client.post(CHAT, ASK)
            assert (answer.status, answer.json["choices"][0]["message"]["content"]) == (200, "one two three four")
            assert answer.json["id"].endswith(answer.headers["x-request-id"])
            events = await client.events(CHAT, {**ASK, "stream": True})
            text = "".join(e["choices"][0]["delta"].get("content") or "" for e in events[:-1] if e["choices"])
            assert text == "one two three four"
            assert (await client.post(CHAT, REMOTE)).json["error"]["param"] == "image_url"
            ranked = await client.post(CHAT, {**ASK, "best_of": 2, "temperature": 1.0})
            assert (ranked.status, len(ranked.json["choices"])) == (200, 1)
            choice = await client.post(CHAT, {**ASK, "guided_choice": ["left", "right"]})
            assert choice.json["choices"][0]["message"]["content"] in ("left", "right")
            message = await client.post("/v1/messages", {**ASK, "max_tokens": 24})
            assert message.status == 200, message.body
            assert (await client.get("/v1/models")).json["data"][0]["root"] == "o/p"
