"""Access control: allowed host names, allowed web origins, and the API key.

Every check needs the request head alone, so the body of an unauthorized request is never held in memory.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from worker_vllm.errors import RequestError
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.server.request import Header

ANY_ADDRESS = frozenset({"0.0.0.0", "::"})
MAX_KNOWN_HOSTS = 64  # accepted values of the Host header that are cached


class Access:
    """The access rules of one gateway; an empty `key` requires none."""

    def __init__(self, options: GatewayOptions, key: str) -> None:
        self._hosts = frozenset(host.lower().strip("[]") for host in options.allowed_hosts)
        self._origins = frozenset(options.allowed_origins)
        self._key = key.encode()
        self._known_hosts: set[bytes] = set()

    def check_page(self, headers: Mapping[bytes, bytes]) -> list[Header]:
        """Return the CORS headers for an allowed page. Raises RequestError 403 for a foreign one."""
        if not self._key:
            self._check_host(headers.get(b"host", b""))
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not origin:  # browsers send none for images and links
            if headers.get(b"sec-fetch-site") == b"cross-site":
                raise RequestError(
                    "a web page of another site sent this request: only pages of this machine may", status=403
                )
            return []
        if not self._may_call(origin, headers.get(b"host", b"").decode("latin-1")):
            raise RequestError(
                f"requests from pages of {origin} are not allowed; see --set allowed_origins", status=403
            )
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-headers", b"*, authorization"),
            (b"access-control-allow-methods", b"*"),
            (b"access-control-expose-headers", b"*"),
            (b"vary", b"origin"),
        ]

    def check_key(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises RequestError 401 unless the request shows the key, where one is required."""
        if not self._key:
            return
        given = headers.get(b"authorization", b"").decode("latin-1").removeprefix("Bearer ").encode("latin-1")
        if not hmac.compare_digest(given, self._key):
            raise RequestError("the Authorization header does not contain this gateway's key", status=401)

    def _check_host(self, host: bytes) -> None:
        """Reject DNS rebinding: such a page has the same origin, so only the Host header identifies it.

        Not called when a key is required, since no page has the key.
        """
        if not host or host in self._known_hosts:  # every browser sends a Host header
            return
        name = name_of(host.decode("latin-1"))
        if not self._is_known(name):
            raise RequestError(
                f'this gateway is not known as "{name}": use localhost or 127.0.0.1, '
                f"allow the name with --set allowed_hosts={name}, or require a key",
                status=403,
            )
        if len(self._known_hosts) < MAX_KNOWN_HOSTS:
            self._known_hosts.add(host)

    def _is_known(self, name: str) -> bool:
        if is_loopback(name) or name in self._hosts:
            return True
        return bool(self._hosts & ANY_ADDRESS) and _address(name) is not None

    def _may_call(self, origin: str, host: str) -> bool:
        if origin in self._origins:
            return True
        try:
            split = urlsplit(origin)
        except ValueError:
            return False
        return is_loopback(split.hostname or "") or split.netloc == host


def name_of(host: str) -> str:
    """Return the name or address in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].removesuffix(".").lower()


def is_loopback(name: str) -> bool:
    """Whether the name is `localhost` or a loopback address."""
    address = _address(name)
    return name == "localhost" if address is None else address.is_loopback


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
