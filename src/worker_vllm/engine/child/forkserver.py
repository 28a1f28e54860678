"""Starts the CPU engine's processes as forks of one template process, so that vLLM is imported once, not three times.

vLLM starts an API server, an engine core and a worker, each with `spawn`, and each spends most of its start on the
same imports (0.32.0, two cores: 45 of 51 CPU seconds). Here Python's own fork server imports them once and forks
server and core, which runs the model itself. The template has computed nothing, and vLLM itself relies on such forks
being safe (0.32.0, v1/executor/multiproc_executor.py, set_multiprocessing_worker_envs). `preflight.cpu_processes`
tells when this applies.

Runs in the engine child only. Imports vLLM in `load`, not when this module is imported.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing import context, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import _forkserver

from worker_vllm.engine.child import model_info_writer
from worker_vllm.engine.preflight.cpu_processes import MULTIPROCESSING, starts_forked

# Python's fork server ignores a preload module that it cannot import: a wrong name here only makes the start slow.
PRELOAD_MODULE = "worker_vllm.engine.child.forkserver_preload"
# The fork server's address (Python 3.11 to 3.14). Children do not inherit it: each would start a server of its own.
ADDRESS = ("_forkserver_address", "_forkserver_authkey")
MODULES = (
    "vllm.entrypoints.cli.main",
    "vllm.entrypoints.cli.serve",
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
    "vllm.v1.worker.cpu_worker",
    "vllm.model_executor.model_loader",
    "vllm.model_executor.models.llama",
)


class InheritingProcess(ForkServerProcess):
    """A process forked from the template, with its parent's environment, as a spawned process has."""

    def start(self) -> None:
        """Start the process."""
        _forkserver.ensure_running()
        self.environment = dict(os.environ)
        self.template = {name: getattr(_forkserver, name) for name in ADDRESS if hasattr(_forkserver, name)}
        super().start()

    def run(self) -> None:
        """Run the process's target; its children are forked from the same template."""
        os.environ.clear()
        os.environ.update(self.environment)
        vars(_forkserver).update(self.template, ensure_running=resource_tracker.ensure_running)
        vars(context)["_concrete_contexts"]["spawn"] = TemplateContext()
        super().run()


class TemplateContext(ForkServerContext):
    """Replaces vLLM's start method `spawn`: the same guarantees, forked from the template."""

    Process = InheritingProcess


def applies(environment: Mapping[str, str], arguments: list[str]) -> bool:
    """Whether this command line is a server's that is forked."""
    return arguments[1:2] == ["serve"] and starts_forked(environment, arguments)


def find_title_area() -> None:
    """Let the template's forks carry vLLM's process titles; called before anything changes the environment.

    A title is written over the arguments and the environment that the process began with, which `setproctitle` (1.3)
    looks for once, at its first call, and does not find after the environment has changed.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("setproctitle").getproctitle()


def load() -> None:
    """Import what all three processes need; called once, in the template."""
    gc.disable()
    for name in MODULES:
        importlib.import_module(name)
    # vLLM would inspect the model's class in another process, which would import all of this once more.
    model_info_writer.inspect_here(sys.modules[model_info_writer.REGISTRY])
    gc.enable()
    gc.freeze()


def prepare() -> TemplateContext:
    """Start the template unless it runs already; returns before it has imported anything."""
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    os.environ["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) - 1))
    os.environ.setdefault(MULTIPROCESSING, "0")
    template = TemplateContext()
    template.set_forkserver_preload([PRELOAD_MODULE])
    _forkserver.ensure_running()
    return template


def run(target: Callable[[], None]) -> int:
    """Run `target` in a process forked from the template; its exit status, negative for a signal."""
    template = prepare()
    server = template.Process(target=run_server, args=(sys.argv, target))
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    server.join()
    return server.exitcode or 0


def run_server(argv: list[str], target: Callable[[], None]) -> None:
    """The API server, the first process that is forked from the template."""
    sys.argv = argv
    target()
