"""`worker-vllm gateway`: the local RunPod alone; workers attach by RUNPOD_WEBHOOK_*."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from worker_vllm.errors import WorkerError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where to listen and which key to require."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on, 0 for a free one (default: 8000)")
    parser.add_argument("--api-key-file", type=Path, help="file with the key to require; or set GATEWAY_API_KEY")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    from worker_vllm.gateway.server import listen

    try:
        key = read_key(args.api_key_file, os.environ)
        listener = listen(args.host, args.port)
    except WorkerError as error:
        print(f"worker-vllm gateway: {error}", file=sys.stderr)
        return 1
    port = listener.getsockname()[1]
    print(f"gateway on http://{args.host}:{port}/v2/local", flush=True)
    import uvloop

    from worker_vllm.gateway.app import Gateway
    from worker_vllm.gateway.options import GatewayOptions
    from worker_vllm.gateway.server import GatewayServer

    async def serve() -> None:
        server = GatewayServer(Gateway(GatewayOptions(), key=key), listener)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.stop)
        await server.serve()

    uvloop.run(serve())
    return 0


def read_key(path: Path | None, environ: Mapping[str, str]) -> str:
    """The key that clients and workers must show, empty when none is required."""
    if path is None:
        return environ.get("GATEWAY_API_KEY", "").strip()
    try:
        key = path.read_text().strip()
    except OSError as error:
        raise WorkerError(f"--api-key-file {path}: {error.strerror}") from error
    if not key:
        raise WorkerError(f"--api-key-file {path}: the file is empty, expected a key")
    return key
