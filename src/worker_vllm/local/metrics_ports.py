"""A metrics address for each local worker, so that the plots have the worker's and the engine's figures."""

from __future__ import annotations

import socket
from collections.abc import Mapping

VARIABLE = "METRICS_ADDRESS"


class MetricsPorts:
    """The addresses by worker."""

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}

    def add_address(self, worker_id: str, environment: Mapping[str, str]) -> dict[str, str]:
        """The environment with a free port on loopback; an address of the user's own is kept, and read from."""
        address = environment.get(VARIABLE) or f"127.0.0.1:{free_port()}"
        self.addresses[worker_id] = address
        return {**environment, VARIABLE: address}

    def remove(self, worker_id: str) -> None:
        """Forget an ended worker."""
        self.addresses.pop(worker_id, None)


def free_port() -> int:
    """A port of loopback that is free now; the worker logs an error when another process takes it first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
