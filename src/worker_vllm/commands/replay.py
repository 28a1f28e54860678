"""`worker-vllm replay`: start the engine of a crash bundle again, and send it the requests that were in flight.

The settings are the bundle's, the secrets this environment's, since a bundle has none. The requests are sent only if
the bundle has their bodies (CRASH_BUNDLE_PROMPTS=1 on the worker that wrote it).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker_vllm.commands.doctor import MACHINE_VARIABLES, positive_seconds
from worker_vllm.engine.interface import EngineRequest, EngineState
from worker_vllm.engine.supervision.startup import plan_start
from worker_vllm.errors import ConfigurationError, EngineUnavailable, WorkerError
from worker_vllm.host_inspection import inspect_host
from worker_vllm.settings.load import load
from worker_vllm.settings.redaction import HIDDEN
from worker_vllm.settings.sources.environment import redactor
from worker_vllm.settings.types import EngineKind, Settings

EXIT_DIED = 1
EXIT_USAGE = 2
EXIT_CONFIGURATION = 78
JSON = {"content-type": "application/json"}
# Where jobs come from and what serves them has no part in an engine's death.
ENDPOINT = ("RUNPOD_", "PORT", "WORKER_MODE", "METRICS_ADDRESS")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the bundle and the time limit."""
    parser.add_argument("bundle", type=Path, help="the file that the worker's log names")
    parser.add_argument(
        "--timeout", type=positive_seconds, default=120.0, metavar="SECONDS", help="how long the requests may take"
    )


def run(args: argparse.Namespace) -> int:
    """Exit status 0 when the engine survived, 1 when it died again or did not start.

    2 for an unreadable bundle, 78 for settings that are invalid here.
    """
    try:
        bundle = json.loads(args.bundle.read_text(encoding="utf-8"))
        recorded, requests = bundle["environment"], bundle["requests_in_flight"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"worker-vllm replay: {args.bundle}: expected a crash bundle: {error!r}", file=sys.stderr)
        return EXIT_USAGE
    environment = replayed_environment(recorded, os.environ)
    try:
        settings = load(environment, inspect_host(environment))
    except ConfigurationError as error:
        print("\n".join(map(str, error.problems)), file=sys.stderr)
        return EXIT_CONFIGURATION
    print(f"the engine died: {bundle['cause']['sentence']}")
    return asyncio.run(replay(settings, environment, requests, args.timeout))


def replayed_environment(recorded: Mapping[str, str], outer: Mapping[str, str]) -> dict[str, str]:
    """The bundle's variables over this machine's own; secrets are taken from `outer`, if it has them."""
    found = {name: value for name, value in outer.items() if name.upper() in MACHINE_VARIABLES}
    for name, value in recorded.items():
        if name.startswith(ENDPOINT):
            continue
        if HIDDEN not in value:
            found[name] = value
        elif name in outer:
            found[name] = outer[name]
        else:
            print(f"note: {name} is a secret: it is not in the bundle, and not set here")
    return found


async def replay(
    settings: Settings, environment: Mapping[str, str], requests: list[dict[str, Any]], timeout_s: float
) -> int:
    """Start the engine, send the requests at once, and report whether it died. Returns the exit status."""
    from worker_vllm.engine.client.http import HttpEngine
    from worker_vllm.engine.supervision.supervisor import Supervisor

    if settings.engine.kind is EngineKind.ATTACH:
        print("the engine ran elsewhere (ENGINE_URL): replay it there")
        return EXIT_USAGE
    redact = redactor(environment)
    supervisor = Supervisor(plan_start(settings.engine, environment), HttpEngine)
    running = asyncio.create_task(supervisor.run())
    try:
        state = await supervisor.wait_until_decided()
        if state is not EngineState.READY:
            print(redact(f"it does not start: {supervisor.diagnosis}"))
            return EXIT_DIED
        print(f"it is ready after {supervisor.timeline}")
        sent = [each for each in requests if each.get("body")]
        if len(sent) < len(requests):
            left_out = f"{len(requests) - len(sent)} of {len(requests)}"
            print(f"{left_out} requests have no body in the bundle and are not sent")
        outcomes = await asyncio.gather(*(send(supervisor, each, timeout_s) for each in sent))
        for each, outcome in zip(sent, outcomes, strict=True):
            print(redact(f"  {each['job'] or '-'} {each['path']}: {outcome}"))
        died = any(isinstance(outcome, EngineUnavailable) for outcome in outcomes)
        print("it died again" if died else f"it survived {len(sent)} requests")
        return EXIT_DIED if died else 0
    finally:
        await supervisor.stop()
        await running


async def send(engine: Any, each: Mapping[str, Any], timeout_s: float) -> str | WorkerError:
    """Send one request and read its response; what came of it."""
    request = EngineRequest("POST", each["path"], each["body"].encode(), JSON)
    try:
        async with asyncio.timeout(timeout_s):
            response = await engine.request(request)
            try:
                size = sum([len(chunk) async for chunk in response.chunks()])
            finally:
                response.close()
    except TimeoutError:
        return f"not answered within {timeout_s:.0f} s"
    except WorkerError as error:
        return error
    return f"HTTP {response.status}, {size} bytes"
