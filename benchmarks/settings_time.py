"""How long settings take from an environment: read and checked by this worker, and by the original's flag builder.

Both run in fresh interpreters, as at a worker's start: the first time includes their imports. The original only maps
names to flags; this worker also checks values and their combinations.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks.record import Report, Table, add_output, deliver, original_version

ENVIRONMENT = {
    "MODEL_NAME": "Qwen/Qwen3-0.6B",
    "MAX_MODEL_LEN": "8192",
    "GPU_MEMORY_UTILIZATION": "0.9",
    "ENABLE_AUTO_TOOL_CHOICE": "true",
    "TOOL_CALL_PARSER": "hermes",
    "MAX_NUM_SEQS": "64",
    "ENABLE_PREFIX_CACHING": "true",
    "QUANTIZATION": "awq",
    "MAX_CONCURRENCY": "30",
}
PROGRAM = """
import json, sys, time
environment = json.loads(sys.argv[1])
began = time.perf_counter()
{imports}
{call}
first = time.perf_counter() - began
began = time.perf_counter()
for _ in range(100):
    {call}
print(json.dumps([1000 * first, 10 * (time.perf_counter() - began)]))
"""
OURS = PROGRAM.format(imports="from worker_vllm.settings.load import load", call="load(environment)")
ORIGINALS = PROGRAM.format(imports="from args_builder import build_vllm_args", call="build_vllm_args(environment)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks settings_time", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--original", type=Path, metavar="DIR", help="the original worker, by benchmarks/original.sh")
    add_output(parser)
    given = parser.parse_args()
    programs = {"this worker": ([sys.executable, "-c", OURS], "")}
    if given.original:
        python = given.original.resolve() / ".venv" / "bin" / "python"
        programs["original"] = ([str(python), "-c", ORIGINALS], str(given.original.resolve() / "src"))
    rounds: dict[str, list[list[float]]] = {name: [] for name in programs}
    for _ in range(given.rounds):
        for name, (command, path) in programs.items():
            rounds[name].append(once(command, path))
    rows = [[name, *(f"{median(column):.2f} ms" for column in zip(*of, strict=True))] for name, of in rounds.items()]
    head = ["", "first time, with imports", "again"]
    table = Table(f"Settings of {len(ENVIRONMENT)} variables: medians of {given.rounds} rounds", head, rows)
    deliver(Report("settings_time", [table], rounds, original_version(given.original)), given)


def once(command: list[str], path: str) -> list[float]:
    """Milliseconds of the first time and of each further one, in a fresh interpreter."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path}
    done = subprocess.run(
        [*command, json.dumps(ENVIRONMENT)], env=environment, capture_output=True, text=True, check=True
    )
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found
