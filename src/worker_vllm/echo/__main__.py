"""`python -m worker_vllm.echo --uds PATH`: the echo engine as a process."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from worker_vllm.echo.app import EchoApp, Options
from worker_vllm.echo.routes.body import EngineLimits
from worker_vllm.echo.script import Script
from worker_vllm.echo.server import Address, AsgiApp, EchoServer
from worker_vllm.engine.child import adopted_socket


@dataclass(frozen=True, slots=True)
class StartOptions:
    """How the process starts: where it listens, after which delay, whether and how it fails."""

    address: Address
    delay_s: float
    log: str
    exit: int | None
    keep_alive_s: int
    handover: str | None = None
    middleware: tuple[str, ...] = ()


def arguments(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[Options, StartOptions, list[str]]:
    """Options from the command line, then the environment; and the arguments of vLLM that are ignored."""
    parser = argparse.ArgumentParser(prog="python -m worker_vllm.echo", allow_abbrev=False)
    parser.add_argument("--uds", help="Unix socket to listen on, instead of host and port")
    parser.add_argument("--hand-over-at", help="socket at which the worker hands its listening socket over")
    parser.add_argument("--middleware", action="append", default=[], help="ASGI class around it, module.Class")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--model", "--served-model-name", nargs="+", default=["echo"], help="the names served")
    parser.add_argument("--max-model-len", type=int, default=131072)
    parser.add_argument("--max-num-seqs", type=int, default=environ.get("ECHO_MAX_NUM_SEQS", "256"))
    parser.add_argument("--max-queued", "--max-num-queued-reqs", type=int, default=environ.get("ECHO_MAX_QUEUED"))
    parser.add_argument("--ttft-ms", type=float, default=environ.get("ECHO_TTFT_MS", "0"))
    parser.add_argument("--tpot-ms", type=float, default=environ.get("ECHO_TPOT_MS", "0"))
    parser.add_argument(
        "--step-ms", type=float, default=environ.get("ECHO_STEP_MS", "0"), help="all streams together"
    )
    parser.add_argument("--kv-tokens", type=int, default=environ.get("ECHO_KV_TOKENS", "1000000"))
    parser.add_argument("--report-usage", action="store_true", help="write each request's tokens into the output")
    parser.add_argument("--start-delay-s", type=float, default=environ.get("ECHO_START_DELAY_S", "0"))
    parser.add_argument("--start-log", default=environ.get("ECHO_START_LOG", ""), help="text, or @FILE, for stderr")
    parser.add_argument("--start-exit", type=int, default=environ.get("ECHO_START_EXIT"), help="die with this code")
    given, ignored = parser.parse_known_args(argv)
    options = Options(
        names=tuple(given.model),
        limits=EngineLimits(given.max_model_len, int(environ.get("VLLM_MAX_STOP_STRINGS") or 4)),
        max_num_seqs=given.max_num_seqs,
        max_queued=given.max_queued,
        step_ms=given.step_ms,
        kv_tokens=given.kv_tokens,
        script=Script(ttft_ms=given.ttft_ms, tpot_ms=given.tpot_ms),
        report_usage=given.report_usage,
    )
    log = Path(given.start_log[1:]).read_text() if given.start_log.startswith("@") else given.start_log
    keep_alive_s = int(environ.get("VLLM_HTTP_TIMEOUT_KEEP_ALIVE") or 5)
    address = Address(given.uds, given.host, given.port)
    start = StartOptions(
        address, given.start_delay_s, log, given.start_exit, keep_alive_s, given.hand_over_at, tuple(given.middleware)
    )
    return options, start, ignored


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Serve until stopped; returns the exit code, of a scripted start failure the scripted one."""
    options, start, ignored = arguments(argv, environ)
    if ignored:
        sys.stderr.write(f"echo engine: ignored, vLLM only: {' '.join(ignored)}\n")
    if start.log:
        sys.stderr.write(start.log.rstrip("\n") + "\n")
        sys.stderr.flush()
    time.sleep(start.delay_s)
    if start.exit is not None:
        return start.exit

    def announce() -> None:
        sys.stderr.write(f"echo engine: serving {', '.join(options.names)} at {start.address}\n")

    if start.handover is not None:
        adopted_socket.install(start.handover)
    app: AsgiApp = EchoApp(options)
    for name in start.middleware:
        module, _, kind = name.rpartition(".")
        app = getattr(importlib.import_module(module), kind)(app)
    EchoServer(app, start.address, announce, keep_alive_s=start.keep_alive_s).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
