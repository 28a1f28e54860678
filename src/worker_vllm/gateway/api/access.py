"""Who may call: under which names the gateway is reached, which web pages may call it, and who has the key.

All of it is known from a request's head, so that the body of a stranger is never held in memory.
"""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from worker_vllm.errors import RequestError
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.server.request import GatewayRequest

ANY_ADDRESS = frozenset({"0.0.0.0", "::"})
ADMITTED_AT_MOST = 64  # spellings of a Host header that are remembered as known


class Access:
    """The rules of one gateway; `key` is empty when none is required."""

    def __init__(self, options: GatewayOptions, key: str) -> None:
        self._hosts = frozenset(host.lower().strip("[]") for host in options.allowed_hosts)
        self._origins = frozenset(options.allowed_origins)
        self._key = key.encode()
        self._admitted: set[bytes] = set()

    def check(self, request: GatewayRequest) -> None:
        """Add what an admitted page must be told. Raises RequestError 401 or 403. A preflight needs no key."""
        if not self._key:
            self._check_host(request.headers.get(b"host", b""))
        self._check_page(request)
        if self._key and request.method != "OPTIONS":
            self._check_key(request)

    def _check_host(self, host: bytes) -> None:
        """A page whose own name was made to point here (DNS rebinding) is of the same origin: only Host tells.

        A key makes the check superfluous, since no page knows it.
        """
        if not host or host in self._admitted:  # every browser names a host
            return
        name = name_of(host.decode("latin-1"))
        if not self._is_known(name):
            raise RequestError(
                f'this gateway is not known as "{name}": use localhost or 127.0.0.1, '
                f"allow the name with --set allowed_hosts={name}, or require a key",
                status=403,
            )
        if len(self._admitted) < ADMITTED_AT_MOST:
            self._admitted.add(host)

    def _is_known(self, name: str) -> bool:
        if is_loopback(name) or name in self._hosts:
            return True
        return bool(self._hosts & ANY_ADDRESS) and _address(name) is not None

    def _check_page(self, request: GatewayRequest) -> None:
        """Pages from this machine may call; a page from elsewhere must not drive a keyless gateway."""
        origin = request.header(b"origin")
        if not origin:  # a browser that loads an image or follows a link sends none
            if request.header(b"sec-fetch-site") == "cross-site":
                raise RequestError(
                    "a web page of another site asks for this: only pages of this machine may", status=403
                )
            return
        if not self._may_call(origin, request.header(b"host")):
            raise RequestError(
                f"requests from pages of {origin} are not allowed; see --set allowed_origins", status=403
            )
        request.extra_headers += [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-headers", b"*, authorization"),
            (b"access-control-allow-methods", b"*"),
            (b"access-control-expose-headers", b"*"),
            (b"vary", b"origin"),
        ]

    def _may_call(self, origin: str, host: str) -> bool:
        if origin in self._origins:
            return True
        try:
            split = urlsplit(origin)
        except ValueError:
            return False
        return is_loopback(split.hostname or "") or split.netloc == host

    def _check_key(self, request: GatewayRequest) -> None:
        given = request.header(b"authorization").removeprefix("Bearer ").encode("latin-1")
        if not hmac.compare_digest(given, self._key):
            raise RequestError("the Authorization header does not hold this gateway's key", status=401)


def name_of(host: str) -> str:
    """The name or address in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].removesuffix(".").lower()


def is_loopback(name: str) -> bool:
    """Whether the name can only mean this machine."""
    address = _address(name)
    return name == "localhost" if address is None else address.is_loopback


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
