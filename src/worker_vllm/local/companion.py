"""The interface of pages that are served beside the gateway's API; the console implements it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from starlette.routing import BaseRoute

from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.load_balancing.balanced_endpoints import BalancedEndpoints
from worker_vllm.local.fleet.fleet import Fleet
from worker_vllm.local.fleet.fleets import Fleets
from worker_vllm.local.metrics_ports import MetricsPorts

if TYPE_CHECKING:
    from fastapi.routing import APIRoute


class Companion(Protocol):
    """Its routes serve the workers API too."""

    @property
    def mounts(self) -> Sequence[BaseRoute]:
        """Routes for the gateway's server."""

    def describe(self) -> list[APIRoute]:
        """What the description of the gateway's API says of the routes, the workers API included."""

    async def run(self) -> None:
        """Work until `close`."""

    def close(self) -> None:
        """End `run` and every open response."""

    def kill(self) -> None:
        """Kill the processes that were started for it."""


@dataclass(frozen=True, slots=True)
class LocalParts:
    """What a companion is made from; it adds the fleets that it starts to `fleets`."""

    gateway: Gateway
    url: str
    balanced: BalancedEndpoints
    fleets: list[Fleet]
    control: Fleets
    metrics: MetricsPorts


MakeCompanion: TypeAlias = Callable[[LocalParts], Companion]
