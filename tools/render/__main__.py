"""`python -m tools.render` (`make render`): write the generated documentation and forms, or list the stale ones."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.render.files import rendered


def main(argv: list[str] | None = None) -> int:
    """Write every generated file that is missing or stale; with `--check` only list them, and return 1 for any."""
    parser = argparse.ArgumentParser(prog="python -m tools.render", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only list the stale files; exit 1 when there are any")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout (default: here)")
    args = parser.parse_args(argv)
    stale = {name: text for name, text in rendered().items() if not _holds(args.root / name, text)}
    for name, text in stale.items():
        if not args.check:
            _write(args.root / name, text)
        print(f"{name} is stale: run make render" if args.check else f"wrote {name}")
    return 1 if args.check and stale else 0


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
