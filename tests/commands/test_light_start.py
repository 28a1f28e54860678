"""The modules that may be imported before the engine is spawned."""

from __future__ import annotations

import subprocess
import sys

from tests.support.engines.broken_models import PARROT

PROBE = """
import sys
before = set(sys.modules)
from worker_vllm.commands import start
hook = "http://x/$ID?"
environment = {"MODEL_NAME": sys.argv[1], "RUNPOD_WEBHOOK_GET_JOB": hook, "RUNPOD_WEBHOOK_POST_OUTPUT": hook}
settings = start.freeze(start.build_draft(environment, start.inspect_host(environment)))
from worker_vllm.engine.preflight.preflight import preflight
assert preflight(settings.engine, environment).refusal is None
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""
# Standard library, but dear: together they cost as much as all the rest.
HEAVY = {"asyncio", "concurrent", "email", "http", "multiprocessing", "ssl", "xml"}


def test_settings_and_preflight_need_the_standard_library_alone() -> None:
    """None of the heavy ones: the engine's long start begins before the worker's own imports."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(PARROT)], check=True, capture_output=True, text=True, timeout=9
    )
    loaded = set(done.stdout.split())
    assert loaded - sys.stdlib_module_names == {"worker_vllm"}
    assert loaded & HEAVY == set()
