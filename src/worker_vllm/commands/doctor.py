"""`worker-vllm doctor`: report on the machine, the settings and the model, then start the engine once and stop it.

The output contains no secret and can be pasted into a bug report.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from worker_vllm import __version__
from worker_vllm.engine.preflight.nvidia import driver
from worker_vllm.engine.preflight.preflight import Preflight, preflight
from worker_vllm.engine.preflight.vllm_version import engine_version
from worker_vllm.engine.records.start_history import history_file, read_history
from worker_vllm.engine.supervision.startup import StartPlan, facts_of
from worker_vllm.errors import ConfigurationError, WorkerError
from worker_vllm.host_inspection import inspect_host
from worker_vllm.models.hub_access import access_error
from worker_vllm.settings.env_file import read_env_file
from worker_vllm.settings.load import load
from worker_vllm.settings.sources.environment import redactor
from worker_vllm.settings.types import EngineKind, Settings

GIB = 1 << 30
EXIT_UNFIT = 1
EXIT_USAGE = 2
ATTACHED_TIMEOUT_S = 5.0
# Variables that a process inherits from this machine even when --env-file replaces the settings.
MACHINE_VARIABLES = frozenset(
    (
        *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH"),
        *("CUDA_HOME", "CUDA_VISIBLE_DEVICES", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    )
)
EXIT_CONFIGURATION = 78


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the settings' file, whether to start the engine, and the limit of the start."""
    parser.add_argument(
        "--env-file", type=Path, help="NAME=value lines to read instead of this environment's settings"
    )
    parser.add_argument("--no-start", action="store_true", help="check without starting the engine")
    parser.add_argument(
        "--worker", metavar="HOST:PORT", help="show the receipt of a running worker, at its METRICS_ADDRESS, instead"
    )
    parser.add_argument("--timeout", type=positive_seconds, metavar="SECONDS", help="how long the start may take")


def run(args: argparse.Namespace) -> int:
    """Exit status 0 when every check passed, 1 when one failed, 2 for wrong usage, 78 for invalid settings."""
    redact = redactor(os.environ)
    if args.worker is not None:
        return show_receipt(args.worker, redact)
    try:
        environment = effective_environment(args.env_file, os.environ)
        redact = redactor(environment)
        print_section("machine", machine_facts())
        settings = load(environment, inspect_host(environment))
    except OSError as error:
        print(f"worker-vllm doctor: --env-file {args.env_file}: {error.strerror}", file=sys.stderr)
        return EXIT_USAGE
    except UnicodeDecodeError:
        print(f"worker-vllm doctor: --env-file {args.env_file}: expected lines of text", file=sys.stderr)
        return EXIT_USAGE
    except ConfigurationError as error:
        print_section("settings", [("problem", str(problem)) for problem in error.problems], redact)
        return EXIT_CONFIGURATION
    print_section(
        "settings", [*effective_settings(settings), *(("note", warning) for warning in settings.warnings)], redact
    )
    return try_engine(args, settings, environment)


def try_engine(args: argparse.Namespace, settings: Settings, environment: Mapping[str, str]) -> int:
    """Check what the engine needs, then start it unless `--no-start` was given. Returns the exit status."""
    redact = redactor(environment)
    if settings.engine.kind is EngineKind.ATTACH:
        return asyncio.run(check_attached(str(settings.engine.url), redact))
    if settings.engine.kind is EngineKind.VLLM and engine_version(sys.path) is None:
        print_section(
            "engine", [("problem", f"vLLM is not installed for {sys.executable}: install it, or set ENGINE_URL")]
        )
        return EXIT_UNFIT
    checked = preflight(settings.engine, environment)
    refused = hub_access_lines(checked, environment)
    print_section("preflight", [*preflight_findings(checked), *refused], redact)
    if checked.refusal is not None or any(name == "problem" for name, _ in refused):
        return EXIT_UNFIT
    if args.no_start:
        print_section("earlier starts", earlier_starts(checked, environment), redact)
        return 0
    if args.timeout:
        checked = replace(checked, settings=replace(checked.settings, start_timeout_s=args.timeout))
    return asyncio.run(start_and_stop(checked, settings, environment))


def positive_seconds(text: str) -> float:
    """Parse a positive number of seconds. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'"{text}": expected seconds, more than 0')
    return value


def effective_environment(env_file: Path | None, outer: Mapping[str, str]) -> dict[str, str]:
    """This environment, or a file's settings with the machine's variables. Raises OSError, ConfigurationError."""
    if env_file is None:
        return dict(outer)
    inherited = {name: value for name, value in outer.items() if name.upper() in MACHINE_VARIABLES}
    return inherited | read_env_file(env_file.read_text(), outer)


def hub_access_lines(checked: Preflight, environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """One line for each repository that must be downloaded: accessible on the hub, or the reason why not."""
    if checked.found is None or checked.problems:
        return []
    lines = []
    for reference in checked.found.downloads:
        error = access_error(reference, {**environment, **checked.found.environment})
        lines.append(("on the hub", reference.name) if error is None else ("problem", str(error)))
    return lines


async def check_attached(url: str, redact: Callable[[str], str]) -> int:
    """Ask the engine at ENGINE_URL for /health. Returns the exit status."""
    from worker_vllm.engine.client.http import HttpEngine
    from worker_vllm.engine.interface import EngineRequest

    engine = HttpEngine(url)
    try:
        async with asyncio.timeout(ATTACHED_TIMEOUT_S):
            answer = await engine.request(EngineRequest("GET", "/health"))
            answer.close()
    except TimeoutError:
        print_section(
            "engine", [("problem", f"the engine at {url} does not answer within {ATTACHED_TIMEOUT_S:.0f} s")], redact
        )
    except WorkerError as error:
        print_section("engine", [("problem", error.message)], redact)
    else:
        healthy = answer.status == 200
        print_section(
            "engine", [("attached to" if healthy else "problem", f"{url}: HTTP {answer.status} on /health")], redact
        )
        return 0 if healthy else EXIT_UNFIT
    finally:
        await engine.aclose()
    return EXIT_UNFIT


def print_section(title: str, lines: list[tuple[str, str]], redact: Callable[[str], str] = str) -> None:
    """Print one section of the report, redacted."""
    print(title)
    for name, text in lines or [("", "no findings")]:
        print(f"  {name:<14} {redact(text)}")


def machine_facts() -> list[tuple[str, str]]:
    """Versions, memory, disk and GPUs of this machine."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    shared = shutil.disk_usage("/dev/shm")
    disk = shutil.disk_usage("/")
    lines = [
        ("worker-vllm", __version__),
        ("vLLM", engine_version(sys.path) or "not installed"),
        ("Python", f"{platform.python_version()} on {platform.platform()}"),
        ("processors", f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}"),
        ("memory", f"{pages / GIB:.1f} GiB"),
        ("/dev/shm", f"{shared.free / GIB:.1f} of {shared.total / GIB:.1f} GiB free"),
        ("disk /", f"{disk.free / GIB:.1f} of {disk.total / GIB:.1f} GiB free"),
    ]
    nvidia = driver()
    if nvidia is None:
        return [*lines, ("GPU", "none found (no NVIDIA driver)")]
    lines.append(("driver", f"{nvidia.version}, CUDA up to {nvidia.cuda[0]}.{nvidia.cuda[1]}"))
    for gpu in nvidia.gpus:
        free = f"{gpu.free_bytes / GIB:.1f} of {gpu.total_bytes / GIB:.1f} GiB free"
        lines.append(("GPU", f"{gpu.name}, sm{gpu.capability[0]}{gpu.capability[1]}, {free}"))
    return lines


def effective_settings(settings: Settings) -> list[tuple[str, str]]:
    """The mode, the model and the engine's arguments."""
    engine = settings.engine
    return [
        ("mode", str(settings.mode)),
        ("engine", str(engine.kind)),
        ("model", engine.model),
        ("served as", ", ".join(engine.served_names)),
        ("arguments", " ".join(engine.arguments) or "(none)"),
        ("variables", ", ".join(sorted(engine.environment)) or "(none)"),
    ]


def preflight_findings(checked: Preflight) -> list[tuple[str, str]]:
    """The preflight's problems and notes, and where the model was found."""
    lines = [("problem", str(problem)) for problem in checked.problems]
    lines += [("machine", problem) for problem in checked.host_problems]
    lines += [("note", note) for note in checked.notes]
    if checked.found is not None and not checked.problems and not checked.found.downloads:
        lines.append(("model found", f"{checked.found.source}: {checked.settings.model}"))
    return lines


def earlier_starts(checked: Preflight, environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """The recorded starts of this model on this hardware, oldest first."""
    facts = facts_of(checked, environment, 0.0)
    recorded = [] if facts is None else read_history(history_file(facts.cache_root))
    return [start.row() for start in recorded if start.key == checked.key]


def show_receipt(address: str, redact: Callable[[str], str]) -> int:
    """Print what a running worker serves at /start. Returns the exit status."""
    url = f"http://{address.removeprefix('http://').rstrip('/').removesuffix('/start')}/start"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ATTACHED_TIMEOUT_S) as answer:
            print(redact(json.dumps(json.load(answer), indent=2, ensure_ascii=False)))
    except urllib.error.HTTPError as error:
        print(redact(f"{url}: HTTP {error.code}: {error.read(1000).decode(errors='replace')}"), file=sys.stderr)
    except (OSError, ValueError) as error:
        hint = "expected the METRICS_ADDRESS of a running worker"
        print(redact(f"{url}: {error}: {hint}"), file=sys.stderr)
    else:
        return 0
    return EXIT_UNFIT


async def start_and_stop(checked: Preflight, all_settings: Settings, environment: Mapping[str, str]) -> int:
    """Start the engine until it is ready, then stop it, and print the time of each. Returns the exit status."""
    from worker_vllm.engine.client.http import HttpEngine
    from worker_vllm.engine.interface import EngineState
    from worker_vllm.engine.records.engine_records import EngineRecords
    from worker_vllm.engine.supervision.supervisor import Supervisor

    downloads = checked.found if checked.found is not None and checked.found.downloads else None
    settings = checked.given if downloads else checked.settings
    records = EngineRecords(all_settings, environment)
    plan = StartPlan(settings, environment, found=downloads, facts=facts_of(checked, environment, 0.0))
    supervisor = Supervisor(plan, HttpEngine, observer=records)
    redact = redactor(environment)
    print("start", flush=True)
    began = time.monotonic()
    running = asyncio.create_task(supervisor.run())
    try:
        state = await supervisor.wait_until_decided()
        lines = [("state", f"{state} after {time.monotonic() - began:.1f} s")]
        if supervisor.timeline:
            lines.append(("phases", supervisor.timeline))
        if supervisor.diagnosis:
            lines.append(("diagnosis", supervisor.diagnosis))
        lines += (
            [("engine log", line) for line in supervisor.last_lines[-12:]] if state is not EngineState.READY else []
        )
        await records.aclose()
        if records.receipt is not None:
            lines += records.receipt.rows()
        for name, text in lines:
            print(f"  {name:<14} {redact(text)}")
        return 0 if state is EngineState.READY else EXIT_UNFIT
    finally:
        stopping = time.monotonic()
        await supervisor.stop()
        await running
        print(f"  {'stopped':<14} in {time.monotonic() - stopping:.1f} s, nothing left")
