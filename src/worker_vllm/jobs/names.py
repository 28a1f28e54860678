"""The right name for a wrong one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` with the known name nearest to `name`, or nothing when none is near."""
    found = get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""
