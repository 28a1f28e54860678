"""`worker-vllm jobs`: the last requests of a running gateway, as its own terminal shows them."""

from __future__ import annotations

import argparse
import json
import sys
import time

from worker_vllm.commands.gateway_reader import FOLLOW_PAUSE_S, GatewayReader, add_gateway_arguments, run_reader

LAST = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the gateway's address and how much to show."""
    add_gateway_arguments(parser)
    parser.add_argument(
        "--last", type=int, default=LAST, metavar="N", help="how many requests (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Exit status 0; 1 when no gateway answers."""
    from worker_vllm.gateway.request_lines import LineStyle, request_line
    from worker_vllm.gateway.request_record import RequestRecord

    style = LineStyle(colour=sys.stdout.isatty())

    def show(reader: GatewayReader) -> None:
        answer = reader.get("/console/api/requests")
        rows = answer["requests"][-args.last :] if args.last > 0 else []
        while True:
            for row in rows:
                print(json.dumps(row) if args.json else request_line(RequestRecord(**row), style), flush=True)
            if not args.follow:
                return
            time.sleep(FOLLOW_PAUSE_S)
            answer = reader.get("/console/api/requests", after=answer["next"])
            rows = answer["requests"]

    return run_reader(args, "jobs", show)
