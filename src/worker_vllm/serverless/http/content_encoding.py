"""Decompresses bodies that are compressed although identity was requested."""

from __future__ import annotations

import zlib

from worker_vllm.serverless.http.response_parser import MAX_BODY_BYTES, PlatformAnswer

GZIP, ZLIB_OR_GZIP, BARE = 31, 47, -15  # zlib's names for the framing: window bits


def plain_body(answer: PlatformAnswer, limit: int = MAX_BODY_BYTES) -> bytes:
    """The decompressed body. Raises ValueError for an unknown coding, a damaged body, or one over `limit` bytes."""
    body = answer.body
    codings = (answer.header("content-encoding") or "").lower().split(",")
    for coding in reversed([name.strip() for name in codings]):
        if coding in ("gzip", "x-gzip"):
            body = _inflated(body, GZIP, limit)
        elif coding == "deflate":
            # RFC 9110 means zlib's framing; some servers send none.
            framed = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
            body = _inflated(body, ZLIB_OR_GZIP if framed else BARE, limit)
        elif coding not in ("", "identity"):
            raise ValueError(
                f"a body in the content coding {coding!r}: expected identity, as requested, gzip or deflate"
            )
    return body


def _inflated(body: bytes, framing: int, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit
    while body:
        inflating = zlib.decompressobj(framing)
        try:
            parts.append(inflating.decompress(body, left + 1))
        except zlib.error as error:
            raise ValueError(f"a damaged compressed body: {error}") from error
        left -= len(parts[-1])
        if left < 0:
            raise ValueError(f"a compressed body of more than {limit} bytes")
        if not inflating.eof:
            raise ValueError("a compressed body without its end")
        body = inflating.unused_data  # a gzip body may be of several members
    return parts[0] if len(parts) == 1 else b"".join(parts)
