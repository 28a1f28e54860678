"""A multipart form, as OpenAI clients send audio, cannot travel in a job: the error states what to send instead."""

from __future__ import annotations

import aiohttp

from tests.support.http import Http


async def test_a_multipart_form_is_answered_with_what_to_send(http: Http) -> None:
    form = aiohttp.FormData({"model": "m"})
    form.add_field("file", b"\x00\xff", filename="a.wav")
    url = f"{http.url}/v2/local/openai/v1/audio/transcriptions"
    async with aiohttp.ClientSession() as session, session.post(url, data=form) as answer:
        status, error = answer.status, (await answer.json())["error"]
    assert (status, error["code"]) == (400, 400)
    assert error["message"] == (
        "a multipart form cannot travel inside a job: send JSON with the file as base64, "
        '{"file": "<base64>", "model": …}'
    )
