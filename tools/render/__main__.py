"""`python -m tools.render` (`make render`): write the generated documentation and forms, or tell which are stale."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.render.files import rendered


def main(argv: list[str] | None = None) -> int:
    """0 when every generated file is as it should be, 1 when `--check` finds a stale one."""
    parser = argparse.ArgumentParser(prog="python -m tools.render", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only tell which files are stale; exit 1 when any is")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout (default: here)")
    args = parser.parse_args(argv)
    stale = [name for name, text in rendered().items() if not _is(args.root / name, text)]
    for name in stale:
        if not args.check:
            (args.root / name).write_text(rendered()[name], encoding="utf-8")
        print(f"{name} is stale: run make render" if args.check else f"wrote {name}")
    return 1 if args.check and stale else 0


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
