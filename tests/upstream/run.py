"""Runs upstream's modules against the bare engine and through gateway and worker, and compares test by test.

python -m tests.upstream.run [ENGINE …] [--report FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.paths import ROOT
from tests.upstream.compare import Outcomes, Pair, first_without_server, problems, summary
from tests.upstream.differences import INTENDED
from tests.upstream.modules import ENGINES, FOLDER, Engine
from tests.upstream.omitted import ENDS_ENGINE, NEEDS_UNUSED_ENGINE, unaccounted
from tests.upstream.servers import bare, through
from tests.upstream.source import CACHE, fetched
from tests.upstream.stand_ins import HUB, lay_out
from worker_vllm.settings.versions import VLLM

TESTS = ROOT / "tests"
# A test of upstream's that waits for something that never comes is a failure, not the end of the run.
TEST_LIMIT_S = 30
RUN_LIMIT_S = 900
RAN = (0, 1, 2)  # pytest's codes for all passed, some failed, some modules not importable


def outcomes(source: Path, folder: Path, engine: Engine, url: str, log: Path) -> Outcomes:
    """Each test's outcome with the server at `url`, by test name. Raises if pytest fails or the server ends."""
    recorded = folder / "outcomes.json"
    recorded.unlink(missing_ok=True)
    options = ["-v", "--tb=short", "--assert=plain", f"--timeout={TEST_LIMIT_S}", "-p", "no:cacheprovider"]
    places = ["-c", str(source / "pyproject.toml"), "--rootdir", str(source)]
    options += [f"--deselect={FOLDER}/{test}" for test in (*ENDS_ENGINE, *NEEDS_UNUSED_ENGINE)]
    modules = [str(source / FOLDER / module) for module in engine.modules]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(source), str(TESTS)]),
        "HF_HOME": str(folder / HUB),
        "HF_HUB_OFFLINE": "1",
        "UPSTREAM_SERVER_URL": url,
        "UPSTREAM_OUTCOMES": str(recorded),
    }
    command = [sys.executable, "-m", "pytest", "-p", "upstream.plugin", *options, *places, *modules]
    with log.open("w") as output:
        code = subprocess.call(
            command, cwd=folder, env=environment, stdout=output, stderr=output, timeout=RUN_LIMIT_S
        )
    if code not in RAN:
        raise RuntimeError(f"pytest ended with {code} before it ran all of upstream's tests; see {log}")
    found: Outcomes = json.loads(recorded.read_text())
    if lost := first_without_server(found):
        raise RuntimeError(f"the server at {url} had ended when {lost} asked it; see {log} for the test before")
    return found


def compared(source: Path, engine: Engine) -> Pair:
    """The outcomes with one engine, asked directly first and through us afterwards."""
    with tempfile.TemporaryDirectory(prefix="upstream-") as scratch:
        folder = Path(scratch)
        hub = lay_out(folder)
        started = time.monotonic()
        with bare(engine, folder, hub) as url:
            direct = outcomes(source, folder, engine, url, CACHE / f"{engine.name}-bare.log")
            middle = time.monotonic()
            with through(url, engine) as ours:
                seen = outcomes(source, folder, engine, ours, CACHE / f"{engine.name}-through.log")
        seconds = (middle - started, time.monotonic() - middle)
        return Pair(engine.name, direct, seen, seconds)


def main(arguments: list[str] | None = None) -> int:
    """0 when nothing differs but what is listed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help=f"of {', '.join(e.name for e in ENGINES)}")
    parser.add_argument("--report", type=Path, help="a file for every outcome, as JSON")
    chosen = parser.parse_args(arguments)
    source = fetched(VLLM)
    pairs = [compared(source, engine) for engine in ENGINES if engine.name in (chosen.engines or [engine.name])]
    if chosen.report:
        chosen.report.write_text(json.dumps([pair.as_json() for pair in pairs], indent=1))
    print(summary(pairs, INTENDED))
    found = problems(pairs, INTENDED) + [f"neither run nor omitted: {module}" for module in unaccounted(source)]
    print("\n".join(found) or "no difference but the listed ones")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
