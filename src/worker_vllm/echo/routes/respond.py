"""Sends a generation in a route's format, complete or as a stream, with the script's failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from worker_vllm.echo.generation import Delta, Generation, merge_deltas
from worker_vllm.echo.http_messages import Reply, dump, error_body
from worker_vllm.echo.routes.answer import Dialect
from worker_vllm.echo.runner import Runner, ScriptedDisconnect
from worker_vllm.echo.script import Script
from worker_vllm.errors import EngineError

STREAM_HEADERS = ((b"content-type", b"text/event-stream; charset=utf-8"),)


async def respond(reply: Reply, dialect: Dialect, generation: Generation, runner: Runner, stream: bool) -> None:
    """Answer one request; errors that refuse it come before the first byte, as in vLLM."""
    script = generation.script
    if script.status is not None:
        await _refuse(reply, script, script.status)
        return
    runner.scheduler.admit(generation.sequences)
    if script.disconnect_after == 0:
        reply.abort()
        return
    try:
        async with aclosing(runner.run(generation)) as steps:
            await (_send_stream if stream else _send_full)(reply, dialect, script, steps)
    except ScriptedDisconnect:
        reply.abort()


async def _refuse(reply: Reply, script: Script, status: int) -> None:
    retry = () if script.retry_after is None else ((b"retry-after", script.retry_after.encode()),)
    body = dump(error_body(status, script.message))
    await reply.respond(status, body, ((b"content-type", b"application/json"), *retry))


async def _send_full(reply: Reply, dialect: Dialect, script: Script, steps: AsyncIterator[list[Delta]]) -> None:
    deltas = [delta._replace(reasoning=False) async for step in steps for delta in step]
    await _write(reply, dump(dialect.full_response(merge_deltas(deltas))), script, first=True)
    await reply.end()


async def _send_stream(reply: Reply, dialect: Dialect, script: Script, steps: AsyncIterator[list[Delta]]) -> None:
    await reply.start(200, STREAM_HEADERS)
    opening: bytes | None = dialect.opening()
    plain = script.plain_writes
    try:
        async for step in steps:
            if opening is not None:
                await _write(reply, opening, script)
                opening = None
            for delta in step:
                event = dialect.event(delta)
                if plain and event:
                    await reply.write(event)
                else:
                    await _write(reply, event, script)
    except EngineError as error:
        await reply.end(dialect.failure(error))
        return
    await _write(reply, dialect.closing(), script)
    await reply.end()


async def _write(reply: Reply, data: bytes, script: Script, *, first: bool = False) -> None:
    """Write one event in one part, or in two, split inside its first multi-byte character."""
    if first:
        await reply.start(200, ((b"content-type", b"application/json"),))
    if not data:
        return
    if script.comments:
        await reply.write(b": keep-alive\n\n")
    cut = next((at + 1 for at, byte in enumerate(data) if byte >= 0xC0), 0) if script.split_utf8 else 0
    if cut:
        await reply.write(data[:cut])
        await asyncio.sleep(0.002)  # so that the client most likely reads the halves separately
    await reply.write(data[cut:])
