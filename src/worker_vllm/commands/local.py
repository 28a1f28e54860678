"""`worker-vllm local`: gateway, workers and engine on this machine; no account, no GPU needed."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from worker_vllm.errors import WorkerError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what to serve and where; everything else comes from the worker's own variables."""
    parser.add_argument(
        "--model", help="a model's directory or hub id (default: MODEL_NAME, else the embedded model)"
    )
    parser.add_argument("--engine", choices=("vllm", "echo"), default="vllm", help="which engine answers")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on, 0 for a free one (default: 8000)")
    parser.add_argument("--workers", type=int, default=1, help="how many workers, each with its own engine")
    parser.add_argument("--api-key-file", type=Path, help="file with the key to require; or set GATEWAY_API_KEY")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; 0 after it, 1 when the model cannot be served."""
    from worker_vllm.commands.gateway import read_key
    from worker_vllm.gateway.server import listen
    from worker_vllm.local.plan import Plan
    from worker_vllm.local.screen import open_screen

    try:
        plan = Plan(args.engine, args.model, args.workers, read_key(args.api_key_file, os.environ))
        listener = listen(args.host, args.port)
        import uvloop

        from worker_vllm.local.run import Arrangement, LocalRun

        async def serve() -> None:
            await LocalRun(Arrangement(plan, listener, open_screen())).run()

        uvloop.run(serve())
    except WorkerError as error:
        print(f"worker-vllm local: {error}", file=sys.stderr)
        return 1
    return 0
