"""Places in the checkout that tests and benchmarks read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARROT = ROOT / "models" / "parrot"
OWN_WORKER = ROOT / "tests" / "conformance" / "own_worker.py"  # a queue worker without an engine
SDK_WORKER = ROOT / "tests" / "conformance" / "sdk_worker.py"  # the same on the official SDK
SDK_PYTHON = ROOT / ".venv-sdk" / "bin" / "python"  # the interpreter that has the official SDK
