"""The console of `worker-vllm gateway`, which starts no workers: it shows those that attach, and the form."""

from __future__ import annotations

from worker_vllm.console.state import ConsoleHost
from worker_vllm.console.web_console import WebConsole
from worker_vllm.gateway.fleet.attached import attached_views
from worker_vllm.gateway.fleet.fleet_control import AttachedWorkers
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.host_inspection import inspect_host


def console_of(gateway: Gateway) -> WebConsole:
    """The console of a gateway alone."""
    attached = AttachedWorkers(lambda: attached_views(gateway.states()), gateway.clock)
    return WebConsole(ConsoleHost(gateway=gateway, clock=gateway.clock, inspect=inspect_host, fleet=attached))
