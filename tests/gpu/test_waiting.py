"""What an engine does before its model is on disk, on a machine with a GPU."""

from __future__ import annotations

import subprocess
import sys

from worker_vllm.engine.child.deferred_arguments import IMPORTED

PROBE = """
from worker_vllm.engine.child import deferred_arguments
deferred_arguments.import_vllm()
import torch
print(torch.cuda.is_initialized())
"""


def test_an_engine_that_waits_has_not_touched_the_gpu() -> None:
    """Its imports make no CUDA context: settings and arguments that come later still decide."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == [IMPORTED, "False"]
