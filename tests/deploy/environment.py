"""The environment that checks the files of deploy/: .venv-deploy, set up when it is first needed."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from tests.support.paths import ROOT


@functools.cache
def command(name: str) -> str:
    """A command of .venv-deploy. Fails with the end of the set-up's output when it cannot be set up."""
    done = subprocess.run([str(ROOT / "scripts" / "setup.sh"), "deploy"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return str(Path(ROOT, ".venv-deploy", "bin", name))
