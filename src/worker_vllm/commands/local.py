"""`worker-vllm local`: gateway, workers and engine on this machine; no account, no GPU needed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from worker_vllm.commands import gateway
from worker_vllm.errors import WorkerError

EXIT_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the model, the engine and the gateway's arguments; the rest are environment variables."""
    parser.add_argument(
        "--model", type=name, help="a model's directory or hub id (default: MODEL_NAME, else the embedded model)"
    )
    parser.add_argument("--engine", choices=("vllm", "echo"), default="vllm", help="the engine to serve with")
    gateway.add_fleet_arguments(parser)
    parser.add_argument("--verbose", action="store_true", help="print all log lines of workers and engines")
    gateway.add_serving_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C; returns 0 after it, 1 when the model cannot be served."""
    from worker_vllm.local.launch_config import PLATFORM, LocalConfig
    from worker_vllm.local.start_checks import find_problems

    try:
        listen_config = gateway.open_listener(args, os.environ, PLATFORM)
        config = LocalConfig(args.engine, args.model, args.workers, listen_config.key, args.verbose, args.mode)
        if problems := find_problems(config, os.environ, sys.path):
            print("\n".join(f"worker-vllm local: {problem}" for problem in problems), file=sys.stderr)
            return 1
        storage = gateway.open_storage(args, state_file(args.port, os.environ))
        import uvloop

        from worker_vllm.console.local_console import console_for
        from worker_vllm.local.console import open_console
        from worker_vllm.local.run import LocalRun

        async def serve() -> None:
            make_console = console_for(config, os.environ, sys.path)
            await LocalRun(config, listen_config, storage, open_console(), make_console).run()

        uvloop.run(serve())
    except WorkerError as error:
        print(f"worker-vllm local: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before LocalRun has installed its signal handlers
        return EXIT_INTERRUPTED
    return 0


def state_file(port: int, environ: Mapping[str, str]) -> Path | None:
    """Where `local` keeps its jobs; None for a port that the next run would not have again."""
    home = environ.get("XDG_STATE_HOME") or (environ["HOME"] + "/.local/state" if environ.get("HOME") else "")
    return Path(home, "worker-vllm", f"gateway-{port}.db") if port and home else None


def name(text: str) -> str:
    """Parse a model name. Raises ArgumentTypeError."""
    if not text.strip():
        raise argparse.ArgumentTypeError(
            "expected a model's directory or hub id; without --model, the embedded model"
        )
    return text.strip()
