"""Addresses of the platform, validated and split into their parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urljoin, urlsplit

_PARTS = re.compile("([^/?#]*//[^/?#]*|)([^#]*)", re.DOTALL)
_TO_ESCAPE = re.compile("[^\x21-\x7e]+")
_PORTS = {"http": 80, "https": 443}


class BadAddress(ValueError):
    """The text is not a usable http:// or https:// address; the message has the reason."""


@dataclass(frozen=True, slots=True)
class PlatformOrigin:
    """Scheme, host and port. Connections are kept per origin, and the API key is sent to one origin only.

    `host_port` is the text of the Host header.
    """

    scheme: str
    host: str
    port: int
    host_port: str


@dataclass(frozen=True, slots=True)
class Target:
    """The parsed address of a request; `path` includes the query and is escaped as it is sent."""

    url: str
    origin: PlatformOrigin
    path: str

    def redirected_to(self, location: str) -> Target:
        """The target of a redirect from here. Raises BadAddress, also for a redirect from https to http."""
        try:
            target = parse_target(urljoin(self.url, location))
        except ValueError as error:
            raise BadAddress(f"a redirect to {_shown(location)}: {error}") from error
        if self.origin.scheme == "https" and target.origin.scheme == "http":
            raise BadAddress(f"a redirect from https to http at {target.origin.host_port}")
        return target


def parse_target(url: str) -> Target:
    """The target of an address. Raises BadAddress."""
    parts = _PARTS.match(url)
    assert parts is not None  # it matches everything
    origin, path = _origin_of(parts[1]), parts[2]
    if not path.startswith("/"):
        path = f"/{path}"
    if _TO_ESCAPE.search(path):
        path = _TO_ESCAPE.sub(lambda found: quote(found[0], safe="", errors="replace"), path)
    return Target(url, origin, path)


@lru_cache(maxsize=256)
def _origin_of(start: str) -> PlatformOrigin:
    """The origin of an address, given its text before the path."""
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
        return PlatformOrigin(parts.scheme, host, _PORTS[parts.scheme], written)
    return PlatformOrigin(parts.scheme, host, port, f"{written}:{port}")


def _shown(url: str) -> str:
    """The scheme, host and port of an address; the rest is left out, since it may contain a secret."""
    scheme, _, rest = url.partition("://")
    return repr(f"{scheme}://{rest.partition('/')[0].partition('?')[0].rpartition('@')[2]}"[:200])
