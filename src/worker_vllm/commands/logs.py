"""`worker-vllm logs`: the logs of a running gateway's workers."""

from __future__ import annotations

import argparse
import json
import time
from urllib.parse import quote

from worker_vllm.commands.gateway_reader import FOLLOW_PAUSE_S, GatewayReader, add_gateway_arguments, run_reader
from worker_vllm.errors import NotFound

LAST = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the worker, the gateway's address and how much to show."""
    parser.add_argument("worker", nargs="?", help="a worker's id (default: every worker)")
    add_gateway_arguments(parser)
    parser.add_argument(
        "--last", type=int, default=LAST, metavar="N", help="how many lines of each worker (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Exit status 0; 1 when no gateway answers or the worker is unknown."""
    seen: dict[str, int] = {}

    def show(reader: GatewayReader) -> None:
        while True:
            known = [str(worker["id"]) for worker in reader.get("/console/api/workers")["workers"]]
            if args.worker and args.worker not in known and args.worker not in seen:
                raise NotFound(f'worker "{args.worker}": not known; known are {", ".join(known) or "none"}')
            for worker in known:
                if args.worker in (None, worker):
                    _print_new(reader, worker, seen, args)
            if not args.follow:
                return
            time.sleep(FOLLOW_PAUSE_S)

    return run_reader(args, "logs", show)


def _print_new(reader: GatewayReader, worker: str, seen: dict[str, int], args: argparse.Namespace) -> None:
    from worker_vllm.gateway.request_lines import printable

    answer = reader.get(f"/console/api/workers/{quote(worker, safe='')}/log", after=seen.get(worker, 0))
    lines = answer["lines"] if worker in seen else answer["lines"][-args.last :] if args.last > 0 else []
    seen[worker] = answer["next"]
    for line in lines:
        if args.json:
            print(json.dumps({"worker": worker, **line}), flush=True)
        else:
            mark = "engine | " if line["engine"] else ""
            print(f"{worker}  {line['level']:<7} {mark}{printable(line['message'])}", flush=True)
