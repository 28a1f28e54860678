"""The engine child's entry point: `python -m worker_vllm.engine.child.launch serve MODEL …` is `vllm serve MODEL …`.

It handles vLLM's CPU build, whose distribution has another name and which starts faster forked than spawned. With
`--arguments-on DESCRIPTOR` instead of arguments it imports vLLM at once and reads its arguments there: see
`deferred_arguments`. With `--hand-over-at PATH` before both, its server can adopt the worker's listening socket: see
`adopted_socket`. Processes that vLLM spawns import this main module first, so its setup applies to them as well.
"""

from __future__ import annotations

import os
import resource
import sys
from functools import partial

from worker_vllm.engine.child import (
    cpu_defaults,
    deferred_arguments,
    forkserver,
    handover_protocol,
    request_tag,
    usage_reports,
)
from worker_vllm.engine.child.vllm_cpu_alias import install_vllm_alias
from worker_vllm.engine.preflight.container_limits import address_space_message


def vllm(handover: str | None) -> None:
    """Run vLLM's command line with this process's arguments; its server adopts a socket at the path `handover`."""
    if handover is not None:
        from worker_vllm.engine.child import adopted_socket  # imports uvicorn

        adopted_socket.install(handover)
    from vllm.entrypoints.cli.main import main

    sys.argv[0] = "vllm"
    main()


def launch() -> None:
    """Start vLLM: forked from a template on the CPU build, else in this process."""
    os.write(1, address_space_message(resource.getrlimit(resource.RLIMIT_AS)[0]).encode())
    serve = partial(vllm, handover_protocol.take_path(sys.argv))
    arguments_fd = deferred_arguments.take_descriptor(sys.argv)
    forked = cpu_build and forkserver.applies(os.environ, sys.argv)
    if arguments_fd is not None:
        (forkserver.prepare if forked else deferred_arguments.import_vllm)()
        sys.argv[1:] = deferred_arguments.read_arguments(arguments_fd)
    request_tag.add_middleware(sys.argv)
    if cpu_build:
        cpu_defaults.add_defaults(os.environ, sys.argv)
    if forked:
        status = forkserver.run(serve)
        if status < 0:
            os.kill(os.getpid(), -status)
        sys.exit(status)
    serve()


cpu_build = install_vllm_alias()
usage_reports.install()

if __name__ == "__main__":
    launch()
