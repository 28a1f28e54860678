"""What a run leaves behind: processes and files, recognised by the directory for its temporary files."""

from __future__ import annotations

import asyncio
from pathlib import Path


def left_of(place: Path) -> list[str]:
    """The processes whose temporary files go there, and the files themselves."""
    mark = f"TMPDIR={place}".encode()
    found = [str(path) for path in place.rglob("*")]
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environ.read_bytes().split(b"\0"):
                found.append(environ.parent.joinpath("cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


async def gone(place: Path) -> None:
    """Wait until nothing is left; the test's time limit is the bound."""
    while left_of(place):
        await asyncio.sleep(0.1)
