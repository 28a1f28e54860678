"""Binds the ports of http mode. Needs no event loop, so that the worker listens before it does anything else."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from worker_vllm.settings.types import HttpSettings

BACKLOG = 2048  # the kernel limits it to net.core.somaxconn


@dataclass(frozen=True, slots=True)
class Ports:
    """The bound sockets; `health` is None where PORT serves health as well."""

    requests: socket.socket
    health: socket.socket | None = None


def bind_ports(http: HttpSettings) -> Ports:
    """Bind PORT and PORT_HEALTH. Raises OSError."""
    requests = bind(http.port)
    if http.health_port in (None, http.port):
        return Ports(requests)
    try:
        return Ports(requests, bind(http.health_port or 0))
    except OSError:
        requests.close()
        raise


def bind(port: int, host: str = "") -> socket.socket:
    """A listening TCP socket on `host`, by default on all addresses of the machine, IPv6 included. Raises OSError."""
    if not host and socket.has_dualstack_ipv6():
        listening = socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    else:
        listening = socket.create_server((host, port), backlog=BACKLOG)
    listening.setblocking(False)
    return listening
