"""The engine child's entry point: `python -m worker_vllm.engine.child.launch serve MODEL …` is `vllm serve MODEL …`.

It copes with vLLM's CPU build, whose distribution has another name and which starts faster forked than spawned. With
`--arguments-on DESCRIPTOR` before `serve` it imports at once and is told there what to serve: see `waiting`.
Processes that vLLM spawns import this main module first, so what it sets up holds in them as well.
"""

from __future__ import annotations

import os
import resource
import sys

from worker_vllm.engine.child import cpu_defaults, deferred_arguments, forkserver
from worker_vllm.engine.child.vllm_cpu_alias import answer_for_vllm
from worker_vllm.engine.preflight.container_limits import address_space_words


def vllm() -> None:
    """Run vLLM's command line with our arguments."""
    from vllm.entrypoints.cli.main import main

    sys.argv[0] = "vllm"
    main()


def launch() -> None:
    """Start vLLM the way its build starts best."""
    os.write(1, address_space_words(resource.getrlimit(resource.RLIMIT_AS)[0]).encode())
    told_on = deferred_arguments.descriptor(sys.argv)
    forked = cpu_build and forkserver.applies(os.environ, sys.argv)
    if told_on is not None:
        (forkserver.prepare if forked else deferred_arguments.load)()
        sys.argv[1:] = deferred_arguments.arguments(told_on)
    if cpu_build:
        cpu_defaults.add_defaults(os.environ, sys.argv)
    if forked:
        status = forkserver.run(vllm)
        if status < 0:
            os.kill(os.getpid(), -status)
        sys.exit(status)
    vllm()


cpu_build = answer_for_vllm()

if __name__ == "__main__":
    launch()
