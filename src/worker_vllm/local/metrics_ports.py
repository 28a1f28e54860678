"""A metrics address for each local worker, so that the plots have the worker's and the engine's figures."""

from __future__ import annotations

import socket
from collections.abc import Mapping

VARIABLE = "METRICS_ADDRESS"


class MetricsPorts:
    """The addresses by worker; one that the user has set is kept, and read from."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._own = environ.get(VARIABLE, "").strip()
        self.addresses: dict[str, str] = {}

    def variables(self, worker_id: str) -> dict[str, str]:
        """The variable for a new worker: a free port of loopback."""
        address = self._own or f"127.0.0.1:{free_port()}"
        self.addresses[worker_id] = address
        return {VARIABLE: address}

    def remove(self, worker_id: str) -> None:
        """Forget an ended worker."""
        self.addresses.pop(worker_id, None)


def free_port() -> int:
    """A port of loopback that is free now; a worker logs an error when another process takes it first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
