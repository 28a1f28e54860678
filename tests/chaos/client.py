"""A client of a chaos run: requests one job and returns its outcome."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from tests.chaos.plan import Ask, ClientOutcome, Way, read_events, text_of

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


class Client:
    """Speaks to one endpoint."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def play(self, ask: Ask) -> ClientOutcome:
        """Request the job in its way, cancel it after `cancel_after_s`, and return its outcome."""
        if ask.way is Way.OPENAI:
            return await self._openai(ask)
        if ask.way is Way.OPENAI_STREAM:
            return await self._openai_stream(ask)
        job = {"input": {"prompt": ask.text, "sampling_params": {"max_tokens": 200}}}
        if ask.way is Way.RUNSYNC:
            found = await self._json("/runsync", job)
            return await self._ended(found["id"]) if found["status"] not in FINAL else _outcome(found)
        if ask.way is Way.STREAM:
            job["input"] |= {"stream": True}
        job_id = (await self._json("/run", job))["id"]
        canceller = asyncio.create_task(self._cancel(job_id, ask.cancel_after_s))
        try:
            return await (self._streamed(job_id) if ask.way is Way.STREAM else self._ended(job_id))
        finally:
            canceller.cancel()

    async def status(self, job_id: str) -> dict[str, Any]:
        """The job as the platform shows it."""
        return await self._json(f"/status/{job_id}")

    async def _cancel(self, job_id: str, cancel_after_s: float | None) -> None:
        if cancel_after_s is not None:
            await asyncio.sleep(cancel_after_s)
            await self._json(f"/cancel/{job_id}", {})

    async def _ended(self, job_id: str) -> ClientOutcome:
        while True:
            found = await self._json(f"/status-sync/{job_id}?wait=20000")
            if found["status"] in FINAL:
                return _outcome(found)

    async def _streamed(self, job_id: str) -> ClientOutcome:
        pieces: list[Any] = []
        while True:
            found = await self._json(f"/stream/{job_id}")
            pieces += [piece["output"] for piece in found["stream"]]
            if found["status"] in FINAL:
                end = await self.status(job_id)
                if end["status"] == "COMPLETED" and text_of(end["output"]) != text_of(pieces):
                    return ClientOutcome(
                        "DIFFERENT", f"streamed {text_of(pieces)!r}, result {text_of(end['output'])!r}"
                    )
                return ClientOutcome(found["status"], text_of(pieces), str(end.get("error", "")))

    async def _openai(self, ask: Ask) -> ClientOutcome:
        status, body = await self._post("/openai/v1/completions", _completion(ask))
        value = json.loads(body)
        if status == 200 and "choices" in value:
            return ClientOutcome("COMPLETED", value["choices"][0]["text"])
        return ClientOutcome("FAILED", error=json.dumps(value.get("error", "")))

    async def _openai_stream(self, ask: Ask) -> ClientOutcome:
        status, body = await self._post("/openai/v1/completions", {**_completion(ask), "stream": True})
        if status != 200:
            return ClientOutcome("FAILED", error=body.decode())
        text, error = read_events(body.decode())
        return ClientOutcome("FAILED", text, error) if error else ClientOutcome("COMPLETED", text)

    async def _json(self, path: str, body: Any = None) -> Any:
        method = "GET" if body is None else "POST"
        async with self._session.request(method, self._url + path, json=body) as answer:
            return json.loads(await answer.read())

    async def _post(self, path: str, body: Any) -> tuple[int, bytes]:
        async with self._session.post(self._url + path, json=body) as answer:
            return answer.status, await answer.read()


def _completion(ask: Ask) -> dict[str, Any]:
    return {"model": "facebook/opt-125m", "prompt": ask.text, "max_tokens": 200}


def _outcome(found: dict[str, Any]) -> ClientOutcome:
    return ClientOutcome(found["status"], text_of(found.get("output") or []), str(found.get("error", "")))
