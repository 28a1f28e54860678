"""Runs upstream's modules against the bare engine and through gateway and worker, and compares test by test.

python tests/upstream/run.py [ENGINE …] [--report FILE]
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

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from upstream.compare import Outcomes, Pair, problems, summary
from upstream.differences import INTENDED
from upstream.modules import ENGINES, FOLDER, Engine
from upstream.servers import bare, through
from upstream.source import fetched
from upstream.stand_ins import lay_out

from worker_vllm.settings.release import VLLM

TESTS = Path(__file__).resolve().parents[1]
# A test of upstream's that waits for something that never comes is a failure, not the end of the run.
TEST_LIMIT_S = 30
RUN_LIMIT_S = 900


def outcomes(source: Path, folder: Path, engine: Engine, url: str) -> Outcomes:
    """Each test's outcome with the server at `url`, by the test's own name. Raises when pytest itself failed."""
    recorded = folder / "outcomes.json"
    recorded.unlink(missing_ok=True)
    options = ["-q", "--tb=short", "--assert=plain", f"--timeout={TEST_LIMIT_S}", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "upstream.plugin", *options]
        + ["-c", str(source / "pyproject.toml"), "--rootdir", str(source)]
        + [str(source / FOLDER / module) for module in engine.modules],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(source), str(TESTS)]),
            "HF_HOME": str(folder / "hub-home"),
            "HF_HUB_OFFLINE": "1",
            "UPSTREAM_SERVER_URL": url,
            "UPSTREAM_OUTCOMES": str(recorded),
        },
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=False,
    )
    if not recorded.exists():
        said = done.stdout + done.stderr
        raise RuntimeError(f"pytest ended with {done.returncode} before it ran upstream's tests:\n{said}")
    found: Outcomes = json.loads(recorded.read_text())
    return found


def compared(source: Path, engine: Engine) -> Pair:
    """The outcomes with one engine, asked directly first and through us afterwards."""
    with tempfile.TemporaryDirectory(prefix="upstream-") as scratch:
        folder = Path(scratch)
        hub = lay_out(folder)
        started = time.monotonic()
        with bare(engine, folder, hub) as url:
            direct = outcomes(source, folder, engine, url)
            middle = time.monotonic()
            with through(url, engine) as ours:
                seen = outcomes(source, folder, engine, ours)
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
    found = problems(pairs, INTENDED)
    print("\n".join(found) or "no difference but the listed ones")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
