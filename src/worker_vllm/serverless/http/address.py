"""An address of the platform, checked and taken apart once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urljoin, urlsplit

_PARTS = re.compile("([^/?#]*//[^/?#]*|)([^#]*)", re.DOTALL)
_TO_ESCAPE = re.compile("[^\x21-\x7e]+")
_PORTS = {"http": 80, "https": 443}


class BadAddress(ValueError):
    """The text is no http:// or https:// address that anything could be sent to; the message says why."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who is asked; connections, and the right to see the key, are kept by it. `place` is host:port in writing."""

    scheme: str
    host: str
    port: int
    place: str


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes; `path` holds the query too and is escaped as it goes over the wire."""

    url: str
    origin: Origin
    path: str

    def onward(self, location: str) -> Target:
        """Where a redirect from here leads. Raises BadAddress, also for a way out of TLS."""
        try:
            target = target_of(urljoin(self.url, location))
        except ValueError as error:
            raise BadAddress(f"a redirect to {_shown(location)}: {error}") from error
        if self.origin.scheme == "https" and target.origin.scheme == "http":
            raise BadAddress(f"a redirect from https to {target.origin.place} without it")
        return target


def target_of(url: str) -> Target:
    """The target that an address names. Raises BadAddress."""
    parts = _PARTS.match(url)
    assert parts is not None  # it matches everything
    origin, path = _origin_of(parts[1]), parts[2]
    if not path.startswith("/"):
        path = f"/{path}"
    if _TO_ESCAPE.search(path):
        path = _TO_ESCAPE.sub(lambda found: quote(found[0], safe="", errors="replace"), path)
    return Target(url, origin, path)


@lru_cache(maxsize=256)
def _origin_of(start: str) -> Origin:
    """The origin that an address names before its path."""
    try:
        parts = urlsplit(start)
        port, host = parts.port, parts.hostname or ""
        host.encode("idna")
    except ValueError as error:  # UnicodeError is one
        raise BadAddress(f"broken address {_shown(start)}: {error}") from error
    if parts.scheme not in _PORTS or not host:
        raise BadAddress(f"broken address {_shown(start)}: expected http://host/… or https://host/…")
    written = f"[{host}]" if ":" in host else host
    if port is None or port == _PORTS[parts.scheme]:
        return Origin(parts.scheme, host, _PORTS[parts.scheme], written)
    return Origin(parts.scheme, host, port, f"{written}:{port}")


def _shown(url: str) -> str:
    """Enough of an address to recognize it; what stands behind the host, or before it, may be a secret."""
    scheme, _, rest = url.partition("://")
    return repr(f"{scheme}://{rest.partition('/')[0].partition('?')[0].rpartition('@')[2]}"[:200])
