"""The console of `worker-vllm gateway`, which starts no workers: it shows those that attach, and the form."""

from __future__ import annotations

from worker_vllm.console.state import ConsoleHost
from worker_vllm.console.web_console import WebConsole
from worker_vllm.gateway.fleet.attached import attached_views
from worker_vllm.gateway.fleet.fleet_control import AttachedWorkers
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.host_inspection import inspect_host
from worker_vllm.local.companion import LocalParts


def console_of(gateway: Gateway) -> WebConsole:
    """The console of a gateway alone."""
    attached = AttachedWorkers(lambda: attached_views(gateway.states()), gateway.clock)
    return WebConsole(ConsoleHost(gateway=gateway, clock=gateway.clock, inspect=inspect_host, fleet=attached))


def console_of_fleet(parts: LocalParts) -> WebConsole:
    """The console of a gateway with workers of any command; it starts none itself."""
    host = ConsoleHost(
        gateway=parts.gateway,
        clock=parts.gateway.clock,
        inspect=inspect_host,
        fleet=parts.control,
        balanced=parts.balanced.names,
        metrics_addresses=lambda: parts.metrics.addresses,
    )
    return WebConsole(host)
