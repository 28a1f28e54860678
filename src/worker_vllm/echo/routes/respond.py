"""Carrying a generation out in a dialect: whole, or as a stream that a script may break in any way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from worker_vllm.echo.generation import Delta, Generation, merged
from worker_vllm.echo.http_messages import Reply, error_body
from worker_vllm.echo.routes.answer import Dialect
from worker_vllm.echo.runner import BrokenOff, Runner
from worker_vllm.echo.script import Script
from worker_vllm.errors import EngineError
from worker_vllm.json_bytes import dump_replacing

STREAM_HEADERS = ((b"content-type", b"text/event-stream; charset=utf-8"),)


async def respond(reply: Reply, dialect: Dialect, generation: Generation, runner: Runner, stream: bool) -> None:
    """Answer one request; refusals come before the first byte, as in vLLM."""
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
            await (_stream if stream else _whole)(reply, dialect, script, steps)
    except BrokenOff:
        reply.abort()


async def _refuse(reply: Reply, script: Script, status: int) -> None:
    retry = () if script.retry_after is None else ((b"retry-after", script.retry_after.encode()),)
    body = dump_replacing(error_body(status, script.message))
    await reply.whole(status, body, ((b"content-type", b"application/json"), *retry))


async def _whole(reply: Reply, dialect: Dialect, script: Script, steps: AsyncIterator[list[Delta]]) -> None:
    deltas = [delta._replace(thought=False) async for step in steps for delta in step]
    wholes = merged(deltas)
    await _write(reply, dump_replacing(dialect.whole(wholes)), script, first=True)
    await reply.end()


async def _stream(reply: Reply, dialect: Dialect, script: Script, steps: AsyncIterator[list[Delta]]) -> None:
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
    """One event as one write, or broken inside its first multi-byte character."""
    if first:
        await reply.start(200, ((b"content-type", b"application/json"),))
    if not data:
        return
    if script.comments:
        await reply.write(b": keep-alive\n\n")
    cut = next((at + 1 for at, byte in enumerate(data) if byte >= 0xC0), 0) if script.split_utf8 else 0
    if cut:
        await reply.write(data[:cut])
        await asyncio.sleep(0.002)  # so that the halves are two reads on the other side, as far as anyone can tell
    await reply.write(data[cut:])
