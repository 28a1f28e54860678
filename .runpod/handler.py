"""The Hub looks for a handler.py: the worker is `worker-vllm start`, which speaks the job protocol itself."""

import sys

from worker_vllm.cli import main

if __name__ == "__main__":
    sys.exit(main(["start"]))
