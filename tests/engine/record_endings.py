"""Record what the real CPU engine says when it ends: `PYTHONPATH=tests python -m engine.record_endings NAME…`.

Writes tests/engine/recordings/NAME.txt: the exit status, then the end of the log without this machine's paths.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from pathlib import Path

from engine.broken_models import copy_of_parrot
from engine.faults import FAULTS, Fault

from worker_vllm.engine.process import EngineProcess, spawn
from worker_vllm.settings.model import EngineSettings

RECORDINGS = Path(__file__).with_name("recordings")
SITE_PACKAGES = re.compile(r"/\S*?/site-packages/")
PYTHON = re.compile(r"/\S*?/lib/python3\.\d+/")
SOURCES = re.compile(r"/\S*?/src/worker_vllm/")
ADDRESS = re.compile(r"0x[0-9a-f]{8,}")
DEADLINE_S = 240


def settings_of(fault: Fault, directory: Path) -> EngineSettings:
    """The engine's settings with this mistake in them; builds the broken model under `directory`."""
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
    """How the engine ended by itself, and its last lines."""
    process.adopt(lambda line: None)
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await process.wait(), process.tail.lines
    except TimeoutError:
        await process.kill()
        return 0, [*process.tail.lines, f"(did not end within {DEADLINE_S} s)"]


def clean(line: str, directory: Path, socket: str) -> str:
    """A line without what belongs to this machine alone."""
    line = line.replace(str(directory), "/models").replace(os.path.dirname(socket), "/run/engine")
    for place in (SITE_PACKAGES, PYTHON, SOURCES):
        line = place.sub("…/", line)
    return ADDRESS.sub("0x0", line)


def record(fault: Fault) -> None:
    """Start the engine with the mistake and write its ending down."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")}
        process = spawn(settings_of(fault, directory), environment)
        code, lines = asyncio.run(ending(process))
        text = "\n".join([f"exit status {code}", *(clean(line, directory, process.socket) for line in lines)])
        (RECORDINGS / f"{fault.name}.txt").write_text(text + "\n")
    print(fault.name, code, flush=True)  # noqa: T201


if __name__ == "__main__":
    for each in FAULTS:
        if each.name in sys.argv[1:]:
            record(each)
