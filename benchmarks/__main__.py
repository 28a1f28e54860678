"""`python -m benchmarks NAME [options]`: run one benchmark from the checkout."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = sorted(path.stem for path in HERE.glob("[!_]*.py") if "\ndef main(" in path.read_text())


def main() -> int:
    """Run the benchmark named first; the rest of the command line is its own."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in NAMES:
        print(f"usage: python -m benchmarks {{{','.join(NAMES)}}} [options]", file=sys.stderr)
        return 2
    del sys.argv[1]
    importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
