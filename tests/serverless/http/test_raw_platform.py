"""The scripted platform itself: its bytes arrive exactly as scripted, so that other tests may rely on it."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.platforms.raw_platform import CLOSE, RESET, RawPlatform, answer, bytewise, raw_platform


async def ask(platform: RawPlatform, head: str, body: bytes = b"") -> bytes:
    """Everything that one connection returns for one request; no other request follows."""
    port = int(platform.root.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_after_a_script_the_platform_answers_regularly_again() -> None:
    """Route by route; requests are kept with job id and query."""
    async with raw_platform() as platform:
        platform.script("job-done", [*bytewise(answer(503)), CLOSE])
        assert (await ask(platform, "POST /v2/ep/job-done/w1/a%2Fb?gpu=x", b'{"output":1}')) == answer(503)
        assert (await ask(platform, "POST /v2/ep/job-done/w1/c?")) == answer()
        first = platform.of("job-done", "a/b")[0]
        assert (first.json, first.query, first.connection) == ({"output": 1}, {"gpu": "x"}, 1)


async def test_takes_are_held_until_there_are_jobs() -> None:
    """A batch in one answer, an object for a single one."""
    async with raw_platform() as platform:
        port = int(platform.root.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for path, expected in (
            ("job-take-batch/w1?batch_size=2", [{"id": "a"}, {"id": "b"}]),
            ("job-take/w1", {"id": "c"}),
        ):
            writer.write(f"GET /v2/ep/{path} HTTP/1.1\r\n\r\n".encode())
            await platform.until(lambda: bool(platform.requests))
            await platform.give(*({"id": name} for name in ("abc" if isinstance(expected, list) else "")))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.partition(b"Length: ")[2].split(b"\r\n")[0])
            assert json.loads(await reader.readexactly(length)) == expected
        writer.close()


async def test_a_reset_and_a_line_that_is_too_long() -> None:
    """What libraries do not do."""
    async with raw_platform(longest_line=100) as platform:
        platform.script("ping", [RESET])
        with pytest.raises(ConnectionResetError):
            await ask(platform, "GET /v2/ep/ping/w1")
        assert (await ask(platform, f"GET /v2/ep/ping/w1?{'x' * 100}")).startswith(b"HTTP/1.1 414 ")
