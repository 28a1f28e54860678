"""Which headers a proxy passes on (RFC 9110, 7.6.1). Pure; names are compared in lower case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Header = tuple[bytes, bytes]

# Of one connection, not of the request.
HOP_BY_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    )
)
OURS = frozenset((b"host", b"content-length", b"expect", b"accept-encoding"))  # set by the proxy's own client


def values_of(headers: Iterable[Header], name: bytes) -> list[bytes]:
    """Every value of a header."""
    return [value for key, value in headers if key.lower() == name]


def has_body(headers: Sequence[Header]) -> bool:
    """Whether a request with these headers has a body."""
    return any(values_of(headers, name) for name in (b"content-length", b"transfer-encoding"))


def request_headers(headers: Sequence[Header], *dropped: bytes) -> list[tuple[str, str]]:
    """The headers of a request as the server behind gets them; without those `dropped`."""
    left_out = HOP_BY_HOP | OURS | named_by_connection(headers) | frozenset(dropped)
    kept = [(name, value) for name, value in headers if name.lower() not in left_out]
    lengths = [(b"Content-Length", length) for length in values_of(headers, b"content-length")[-1:]]
    kept += [*lengths, (b"Accept-Encoding", b"identity")]
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in kept]


def response_headers(headers: Iterable[Header], *dropped: bytes) -> list[Header]:
    """The headers of a response as the client gets them; without those `dropped`."""
    lowered = [(name.lower(), value) for name, value in headers]
    left_out = HOP_BY_HOP | named_by_connection(lowered) | frozenset(dropped)
    return [(name, value) for name, value in lowered if name not in left_out]


def named_by_connection(headers: Iterable[Header]) -> frozenset[bytes]:
    """The headers that `Connection` names: they are of one connection too."""
    named = (part.strip().lower() for value in values_of(headers, b"connection") for part in value.split(b","))
    return frozenset(named)
