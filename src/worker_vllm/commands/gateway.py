"""`worker-vllm gateway`: the local RunPod API alone; workers attach by RUNPOD_WEBHOOK_*."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from worker_vllm.errors import WorkerError

if TYPE_CHECKING:
    from worker_vllm.gateway.options import GatewayOptions
    from worker_vllm.gateway.server.server import ListenConfig
    from worker_vllm.gateway.storage.storage import Storage


EXEC_OPTIONS = {
    "--engine": "vllm or echo (default: vllm)",
    "--model": "a model's directory or hub id (default: MODEL_NAME, else the embedded model)",
    "--workers": "how many workers, as for `worker-vllm local`",
    "--mode": "queue or http, as for `worker-vllm local`",
    "--set": "an option of the gateway, as docs/gateway.md lists them; may be repeated",
}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
LAST_PORT = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the gateway's arguments, and `exec` with its own."""
    add_serving_arguments(parser)
    parser.add_argument("--worker-command", metavar="COMMAND", help="start workers by this command, of any worker")
    add_fleet_arguments(parser)
    actions = parser.add_subparsers(dest="action", metavar="exec")
    add_exec_arguments(actions.add_parser("exec", help="run a command against a gateway with workers"))


def add_exec_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `exec` passes on to `worker-vllm local`, and the command."""
    parser.usage = "worker-vllm gateway exec [options] -- COMMAND…"
    for name, text in EXEC_OPTIONS.items():
        parser.add_argument(name, dest=name, metavar="VALUE", action="append", default=[], help=text)
    parser.add_argument("--verbose", action="store_true", help="print all log lines of workers and engines")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="what to run; its status is returned")


def add_fleet_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how many workers of which mode are started."""
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


def add_serving_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the address, the key and the options of the gateway."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port, default=8000, help="port to listen on, 0 for a free one (default: 8000)")
    parser.add_argument("--api-key-file", type=Path, help="file with the key to require; or set GATEWAY_API_KEY")
    parser.add_argument(
        "--any-endpoint", action="store_true", help="let an unknown endpoint id be an endpoint from its first use"
    )
    parser.add_argument("--db", type=Path, metavar="FILE", help="keep jobs and results in this file")
    parser.add_argument("--ephemeral", action="store_true", help="keep jobs and results in memory alone")
    parser.add_argument(
        "--import", type=Path, metavar="FILE", dest="import_from", help="start with an exported state"
    )
    parser.add_argument("--export", type=Path, metavar="FILE", dest="export_to", help="write the state at the end")
    parser.add_argument("--faults", action="store_true", help="let /faults inject failures, for tests of a worker")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="options",
        help="an option of the gateway, as docs/gateway.md lists them; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; returns 1 for invalid arguments or a port in use. `exec`: see its module."""
    if problem := fleet_problem(args):
        print(f"worker-vllm gateway: {problem}", file=sys.stderr)
        return 1
    if args.action == "exec":
        from worker_vllm.local.exec import execute

        given = [part for name in EXEC_OPTIONS for value in getattr(args, name) for part in (name, value)]
        return execute(args.command, [*given, *(["--verbose"] if args.verbose else [])], os.environ)
    from worker_vllm.gateway.options import GatewayOptions

    try:
        listen_config = open_listener(args, os.environ, GatewayOptions())
        storage = open_storage(args, None)
    except WorkerError as error:
        print(f"worker-vllm gateway: {error}", file=sys.stderr)
        return 1
    import uvloop

    try:
        uvloop.run(_serve(args, listen_config, storage))
    except WorkerError as error:
        print(f"worker-vllm gateway: {error}", file=sys.stderr)
        return 1
    return 0


def fleet_problem(args: argparse.Namespace) -> str:
    """What is wrong with the arguments about workers, empty when nothing is."""
    if args.action == "exec" and args.worker_command is not None:
        return "got --worker-command with exec, which starts this package's worker itself: expected one of them"
    if args.worker_command is None and (args.workers, args.mode) != ((1, 1), "queue"):
        return "--workers and --mode say how workers are started: expected them after exec, or with --worker-command"
    return ""


async def _serve(args: argparse.Namespace, listen_config: ListenConfig, storage: Storage) -> None:
    """Serve until SIGINT or SIGTERM, with workers where there is a command for them. Raises WorkerError."""
    from worker_vllm.console.gateway_console import console_of, console_of_fleet

    if args.worker_command is not None:
        from worker_vllm.local.command_fleet import read_plan, serve_command_fleet

        init_timeout_s = listen_config.options.scaling.init_timeout_s
        plan = read_plan(args.worker_command, args.mode, args.workers, os.environ, init_timeout_s)
        await serve_command_fleet(plan, listen_config, storage, console_of_fleet)
        return
    from worker_vllm.gateway.gateway import Gateway
    from worker_vllm.gateway.server.request_routes import describe_requests, recorded_requests
    from worker_vllm.gateway.server.server import GatewayServer

    gateway = Gateway(listen_config.options, key=listen_config.key, storage=storage)
    console = console_of(gateway)
    mounts = [*recorded_requests(gateway), *console.mounts]
    described = [describe_requests, console.describe]
    server = GatewayServer(gateway, listen_config.listener, mounts=mounts, described=described)

    def stop() -> None:
        console.close()
        server.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    print(f"gateway on {listen_config.url}/v2/local", flush=True)
    print(f"console on {listen_config.url}/", flush=True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(console.run())
        await server.serve()


def open_storage(args: argparse.Namespace, default: Path | None) -> Storage:
    """Open the file of the state, `default` where none is named. Raises WorkerError."""
    from worker_vllm.gateway.storage.storage import Storage

    if args.db is not None and args.ephemeral:
        raise WorkerError("got --db and --ephemeral, expected one of them")
    path = None if args.ephemeral else args.db or default
    return Storage.open(path, import_from=args.import_from, export_to=args.export_to)


def open_listener(args: argparse.Namespace, environ: Mapping[str, str], defaults: GatewayOptions) -> ListenConfig:
    """Open the socket and read the options; warns about a public address without a key. Raises WorkerError."""
    from worker_vllm.gateway.option_flags import apply_option_flags
    from worker_vllm.gateway.server.server import ListenConfig, listen

    key = read_key(args.api_key_file, environ)
    if not key and args.host not in LOOPBACK:
        print(
            f"--host {args.host} without a key: anyone who can reach it can use it; set a key with --api-key-file",
            file=sys.stderr,
        )
    options = replace(apply_option_flags(defaults, args.options), faults=args.faults, any_endpoint=args.any_endpoint)
    listener = listen(args.host, args.port)
    reached_as = (*options.allowed_hosts, args.host, listener.getsockname()[0])
    return ListenConfig(listener, replace(options, allowed_hosts=reached_as), key)


def read_key(path: Path | None, environ: Mapping[str, str]) -> str:
    """Read the key that clients and workers must send; empty when none is required. Raises WorkerError."""
    source = "GATEWAY_API_KEY" if path is None else f"--api-key-file {path}"
    key = environ.get("GATEWAY_API_KEY", "").strip() if path is None else _key_in(path)
    if not key.isascii() or not key.isprintable():
        raise WorkerError(f"{source}: the key is not valid in a header, expected one line of printable ASCII")
    return key


def _key_in(path: Path) -> str:
    try:
        key = path.read_text().strip()
    except OSError as error:
        raise WorkerError(f"--api-key-file {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise WorkerError(
            f"--api-key-file {path}: got bytes that are no text, expected one line with the key"
        ) from None
    if not key:
        raise WorkerError(f"--api-key-file {path}: the file is empty, expected a key")
    return key


def port(text: str) -> int:
    """Parse a port number. Raises ArgumentTypeError."""
    if not text.isdecimal() or int(text) > LAST_PORT:
        raise argparse.ArgumentTypeError(f'"{text}": expected a whole number from 0 to {LAST_PORT}')
    return int(text)


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
