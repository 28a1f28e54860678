"""An address of the platform, checked and taken apart once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

_TO_ESCAPE = re.compile(rb"[^\x21-\x7e]")


class BadAddress(ValueError):
    """The text is no http:// or https:// address that anything could be sent to; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes; `path` holds the query too and is escaped as it goes over the wire."""

    url: str
    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What connections, and the right to see the key, are kept by."""
        return self.scheme, self.host, self.port

    @property
    def place(self) -> str:
        """host:port as it is written in an address; the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def onward(self, location: str) -> Target:
        """Where a redirect from here leads. Raises BadAddress, also for a way out of TLS."""
        try:
            target = target_of(urljoin(self.url, location))
        except ValueError as error:
            raise BadAddress(f"a redirect to {_shown(location)}: {error}") from error
        if self.scheme == "https" and target.scheme == "http":
            raise BadAddress(f"a redirect from https to {target.place} without it")
        return target


_PORTS = {"http": 80, "https": 443}


@lru_cache(maxsize=1024)
def target_of(url: str) -> Target:
    """The target that an address names. Raises BadAddress."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
        host.encode("idna")
    except ValueError as error:  # UnicodeError is one
        raise BadAddress(f"broken address {_shown(url)}: {error}") from error
    if parts.scheme not in _PORTS or not host:
        raise BadAddress(f"broken address {_shown(url)}: expected http://host/… or https://host/…")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    escaped = _TO_ESCAPE.sub(lambda found: b"%%%02X" % found[0][0], path.encode("utf-8", "replace")).decode()
    return Target(url, parts.scheme, host, _PORTS[parts.scheme] if port is None else port, escaped)


def _shown(url: str) -> str:
    """Enough of an address to recognize it; what stands behind the host may be a secret."""
    scheme, _, rest = url.partition("://")
    return repr(f"{scheme}://{rest.partition('/')[0].partition('?')[0].rpartition('@')[2]}"[:200])
