"""Record how the real CPU engine exits with a fault: `python -m tests.engine.diagnosis.record_endings NAME…`.

Writes recordings/NAME.txt beside this file: the exit status, then the end of the log without this machine's paths.
A container's limits are set in a mount namespace, which needs root.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.engine.real.faults import FAULTS, LIMITS, Fault
from tests.support.engines.broken_models import copy_of_parrot
from worker_vllm.engine.process.child_process import EngineProcess, spawn
from worker_vllm.settings.types import EngineSettings

RECORDINGS = Path(__file__).with_name("recordings")
SITE_PACKAGES = re.compile(r"/\S*?/site-packages/")
PYTHON = re.compile(r"/\S*?/lib/python3\.\d+/")
SOURCES = re.compile(r"/\S*?/src/worker_vllm/")
ADDRESS = re.compile(r"0x[0-9a-f]{8,}")
SERVES = "Application startup complete"
DEADLINE_S = 120


def settings_of(fault: Fault, directory: Path) -> EngineSettings:
    """The engine's settings with this fault; builds the broken model under `directory`."""
    model = copy_of_parrot(directory, fault.break_model)
    known = {"{model}": str(model), "{directory}": str(directory)}
    arguments = tuple(fill(argument, known) for argument in fault.arguments)
    return EngineSettings(
        model=fill(fault.model, known),
        served_names=("parrot",) if "{model}" in fault.model else ("parrot", fault.model),  # as the settings name it
        arguments=arguments,
        environment={"HF_HUB_OFFLINE": "1", **fault.environment},
    )


def fill(text: str, known: dict[str, str]) -> str:
    """The text with its placeholders replaced."""
    for name, value in known.items():
        text = text.replace(name, value)
    return text


async def ending(process: EngineProcess) -> tuple[int, list[str]]:
    """The exit status and last log lines of an engine that exits by itself."""
    served = asyncio.Event()
    process.adopt(lambda line: served.set() if SERVES in line else None)
    ended = asyncio.create_task(process.wait())
    serving = asyncio.create_task(served.wait())
    await asyncio.wait([ended, serving], timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
    serving.cancel()
    if not ended.done():
        await process.kill()
        return 0, [*process.tail.lines, "(it serves)" if served.is_set() else f"(not over after {DEADLINE_S} s)"]
    return await ended, process.tail.lines


def clean(line: str, directory: Path, socket: str) -> str:
    """A line without this machine's paths and addresses."""
    line = line.replace(str(directory), "/models").replace(os.path.dirname(socket), "/run/engine")
    for place in (SITE_PACKAGES, PYTHON, SOURCES):
        line = place.sub("…/", line)
    return ADDRESS.sub("0x0", line)


def contained(fault: Fault, module: str, directory: str, place: str) -> list[str]:
    """A command that runs a test module under the fault's container limits, with TMPDIR set to `place`."""
    command = [sys.executable, "-m", module, "--inside", fault.name, directory]
    limited = f'{fault.container} && exec "$@"'
    return ["unshare", "--mount", "env", f"TMPDIR={place}", "bash", "-c", limited, "bash", *command]


def record(fault: Fault) -> None:
    """Start the engine with the fault and write its recording."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(prefix="w", dir="/tmp") as place:
        if fault.container:
            subprocess.run(contained(fault, "tests.engine.diagnosis.record_endings", folder, place), check=True)
        else:
            record_here(fault, Path(folder))


def record_here(fault: Fault, directory: Path) -> None:
    """Write the recording; called under the container's limits."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")}
    process = spawn(settings_of(fault, directory), environment)
    code, lines = asyncio.run(ending(process))
    text = "\n".join([f"exit status {code}", *(clean(line, directory, process.socket) for line in lines)])
    (RECORDINGS / f"{fault.name}.txt").write_text(text + "\n")
    print(fault.name, code, flush=True)  # noqa: T201


def main(arguments: list[str]) -> None:
    """Record the faults that are named."""
    named = {fault.name: fault for fault in (*FAULTS, *LIMITS)}
    if arguments[:1] == ["--inside"]:
        record_here(named[arguments[1]], Path(arguments[2]))
        return
    for name in arguments:
        record(named[name])


if __name__ == "__main__":
    main(sys.argv[1:])
