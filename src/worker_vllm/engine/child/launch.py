"""The engine child's entry point: `python -m worker_vllm.engine.child.launch serve MODEL …` is `vllm serve MODEL …`.

It handles vLLM's CPU build, whose distribution has another name and which starts faster forked than spawned. With
`--arguments-on DESCRIPTOR` instead of arguments it imports vLLM at once and reads its arguments there: see
`deferred_arguments`. Processes that vLLM spawns import this main module first, so its setup applies to them as well.
"""

from __future__ import annotations

import os
import resource
import sys

from worker_vllm.engine.child import cpu_defaults, deferred_arguments, forkserver
from worker_vllm.engine.child.vllm_cpu_alias import install_vllm_alias
from worker_vllm.engine.preflight.container_limits import address_space_message


def vllm() -> None:
    """Run vLLM's command line with this process's arguments."""
    from vllm.entrypoints.cli.main import main

    sys.argv[0] = "vllm"
    main()


def launch() -> None:
    """Start vLLM: forked from a template on the CPU build, else in this process."""
    os.write(1, address_space_message(resource.getrlimit(resource.RLIMIT_AS)[0]).encode())
    arguments_fd = deferred_arguments.take_descriptor(sys.argv)
    forked = cpu_build and forkserver.applies(os.environ, sys.argv)
    if arguments_fd is not None:
        (forkserver.prepare if forked else deferred_arguments.import_vllm)()
        sys.argv[1:] = deferred_arguments.read_arguments(arguments_fd)
    if cpu_build:
        cpu_defaults.add_defaults(os.environ, sys.argv)
    if forked:
        status = forkserver.run(vllm)
        if status < 0:
            os.kill(os.getpid(), -status)
        sys.exit(status)
    vllm()


cpu_build = install_vllm_alias()

if __name__ == "__main__":
    launch()
