"""`worker-vllm local`: gateway, workers and engine on this machine; no account, no GPU needed."""

from __future__ import annotations

import argparse
import os
import sys

from worker_vllm.commands import gateway
from worker_vllm.errors import WorkerError

EXIT_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the model, the engine and the gateway's arguments; the rest are environment variables."""
    parser.add_argument(
        "--model", type=name, help="a model's directory or hub id (default: MODEL_NAME, else the embedded model)"
    )
    parser.add_argument("--engine", choices=("vllm", "echo"), default="vllm", help="the engine to serve with")
    parser.add_argument(
        "--workers",
        type=bounds,
        default=(1, 1),
        metavar="MIN:MAX",
        help="how many workers, each with its own engine: a number, or bounds between which the load decides",
    )
    parser.add_argument(
        "--mode",
        choices=("queue", "http"),
        default="queue",
        help="queue: workers take jobs; http: workers serve HTTP behind a load balancer at /lb/local",
    )
    parser.add_argument("--verbose", action="store_true", help="print all log lines of workers and engines")
    gateway.add_arguments(parser)


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
        import uvloop

        from worker_vllm.console.local_console import console_for
        from worker_vllm.local.console import open_console
        from worker_vllm.local.run import LocalRun

        async def serve() -> None:
            await LocalRun(config, listen_config, open_console(), console_for(config, os.environ, sys.path)).run()

        uvloop.run(serve())
    except WorkerError as error:
        print(f"worker-vllm local: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before LocalRun has installed its signal handlers
        return EXIT_INTERRUPTED
    return 0


def name(text: str) -> str:
    """Parse a model name. Raises ArgumentTypeError."""
    if not text.strip():
        raise argparse.ArgumentTypeError(
            "expected a model's directory or hub id; without --model, the embedded model"
        )
    return text.strip()


def bounds(text: str) -> tuple[int, int]:
    """Parse a number of workers from 1, or MIN:MAX with a MIN from 0. Raises ArgumentTypeError."""
    least, colon, most = text.partition(":")
    if not colon:
        most = least
    if least.isdecimal() and most.isdecimal() and int(least) <= int(most) and int(most) >= 1:
        return int(least), int(most)
    raise argparse.ArgumentTypeError(
        f'"{text}": expected a whole number from 1, or MIN:MAX such as 0:3, with MIN not above MAX'
    )
