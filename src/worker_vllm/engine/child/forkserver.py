"""One import instead of three: the CPU engine's processes are forked from a template that has vLLM loaded.

vLLM starts an API server, an engine core and a worker, each with `spawn`, and each spends most of its start on the
same imports (0.32.0, two cores: 45 of 51 CPU seconds). Here Python's own fork server loads them once and forks all
three. The template has computed nothing, and vLLM itself relies on forks of such a process being sound (0.32.0,
v1/executor/multiproc_executor.py, set_multiprocessing_worker_envs); what a fork cannot have is other OpenMP settings
than the template's, so whoever sets some gets vLLM's plain way.

Lives in the engine child only. Names vLLM's modules but imports none before it is asked to.
"""

from __future__ import annotations

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
from worker_vllm.settings.arguments import EngineArguments

TEMPLATE = f"{__name__.rpartition('.')[0]}.template"
# Any of them set means that the user has a plan of his own for processes or threads.
PLANS = (
    "VLLM_WORKER_MULTIPROC_METHOD",
    "VLLM_CPU_OMP_THREADS_BIND",
    "VLLM_CPU_SIM_MULTI_NUMA",
    "OMP_NUM_THREADS",
    "OMP_PLACES",
    "OMP_PROC_BIND",
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
    "LD_PRELOAD",
)
# How a fork server is reached (Python 3.11 to 3.14). Python does not pass it on: every process would start its own.
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
    """A process forked from the template, with the environment of the one that starts it, as a spawned one has."""

    def start(self) -> None:
        """Start the process."""
        _forkserver.ensure_running()
        self.environment = dict(os.environ)
        self.template = {name: getattr(_forkserver, name) for name in ADDRESS if hasattr(_forkserver, name)}
        super().start()

    def run(self) -> None:
        """Run the process's target; whatever it starts comes from the same template."""
        os.environ.clear()
        os.environ.update(self.environment)
        vars(_forkserver).update(self.template, ensure_running=resource_tracker.ensure_running)
        vars(context)["_concrete_contexts"]["spawn"] = TemplateContext()
        super().run()


class TemplateContext(ForkServerContext):
    """The start method `spawn` for vLLM: same promises, forked from the template."""

    Process = InheritingProcess


def applies(environment: Mapping[str, str], arguments: list[str]) -> bool:
    """Whether the engine may start this way: a server in one part, whose processes and threads nobody planned."""
    parallel = any("parallel" in option.flag for option in EngineArguments(arguments).options)
    return arguments[1:2] == ["serve"] and not parallel and not any(name in environment for name in PLANS)


def load() -> None:
    """Import what all three processes need; called in the template, once."""
    gc.disable()
    for name in MODULES:
        importlib.import_module(name)
    model_info_writer.inspect_here(
        sys.modules[model_info_writer.REGISTRY]
    )  # what the inspecting process would import is here already
    gc.enable()
    gc.freeze()


def prepare() -> TemplateContext:
    """The template, begun if it was not yet; returns before it has loaded anything."""
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    os.environ["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) - 1))
    template = TemplateContext()
    template.set_forkserver_preload([TEMPLATE])
    _forkserver.ensure_running()
    return template


def run(target: Callable[[], None]) -> int:
    """Run `target` in a process forked from the template; returns its exit status, negative for a signal."""
    template = prepare()
    server = template.Process(target=answer, args=(sys.argv, target))
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    server.join()
    return server.exitcode or 0


def answer(argv: list[str], target: Callable[[], None]) -> None:
    """The first process of the template: the API server."""
    sys.argv = argv
    target()
