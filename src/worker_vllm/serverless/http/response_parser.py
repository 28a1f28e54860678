"""An HTTP/1.1 answer, and the parser that reads answers from one connection. Bytes in, answers out, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

import httptools

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 512 * 1024 * 1024  # far above what the platform hands out at once


@dataclass(frozen=True, slots=True)
class PlatformAnswer:
    """A complete HTTP answer; `head` is its header lines, each after a line break."""

    status: int
    body: bytes = b""
    head: str = ""

    def header(self, name: str) -> str | None:
        """The value of a header, named in lower case."""
        start = self.head.lower().find(f"\r\n{name}:")
        if start < 0:
            return None
        start += len(name) + 3
        end = self.head.find("\r\n", start)
        return self.head[start : end if end >= 0 else None].strip()


class AnswerParser:
    """Reads the answers of one connection, one at a time; its CPU time is linear in their bytes.

    After an answer, `keep_alive` is whether the connection may carry another request, and `surplus` whether the peer
    sent more than that answer.
    """

    def __init__(self) -> None:
        self.keep_alive = False
        self.surplus = False
        self._parser = httptools.HttpResponseParser(self)
        self._done: PlatformAnswer | None = None
        self._idle_bytes = 0
        self._begin()

    def feed(self, data: bytes) -> PlatformAnswer | None:
        """The answer that `data` completes, else None. Raises ValueError where it is not HTTP/1.1 or too large."""
        before = self._size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            raise ValueError("a change to another protocol") from error
        except httptools.HttpParserError as error:
            cause = error.__context__ if isinstance(error.__context__, ValueError) else error
            raise ValueError(str(cause) or type(cause).__name__) from error
        done, self._done = self._done, None
        self._idle_bytes = self._idle_bytes + len(data) if done is None and self._size == before else 0
        if done is None and self._idle_bytes > MAX_HEAD_BYTES:
            raise ValueError("a head over 64 KiB")
        return done

    def end(self) -> PlatformAnswer | None:
        """Called at the end of the connection. Returns the answer whose body that completes, else None."""
        if self._in_body and not self._framed:
            self.on_message_complete()
        done, self._done = self._done, None
        self.keep_alive = False
        return done

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self.surplus = self._done is not None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser; lines after the body are ignored."""
        if self._in_body:
            return
        self._lines += (b"\r\n", name, b": ", value)
        kind = name.lower()
        if kind == b"content-length" or (kind == b"transfer-encoding" and b"chunked" in value.lower()):
            self._framed = True

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._status = self._parser.get_status_code()
        self._in_body = True
        self.keep_alive = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._size += len(data)
        if self._size > MAX_BODY_BYTES:
            raise ValueError(f"a body over {MAX_BODY_BYTES} bytes")
        self._parts.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser, also after an interim answer: the final answer follows."""
        if self._status >= 200 and self._done is None:
            head = b"".join(self._lines).decode("latin-1")
            body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._done = PlatformAnswer(self._status, body, head)
        self._begin()

    def _begin(self) -> None:
        self._status = self._size = 0
        self._lines: list[bytes] = []
        self._parts: list[bytes] = []
        self._framed = self._in_body = False
