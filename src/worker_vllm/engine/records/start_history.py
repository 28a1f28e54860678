"""The file of earlier starts, beside the compile caches: on the volume if there is one, else in the container.

At most MAX_STARTS and MAX_BYTES; replaced as a whole, so that a reader sees all or nothing. Of two workers that write
at the same moment one start is lost, which costs a comparison one sample.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from worker_vllm.engine.records.start_receipt import RecordedStart

logger = logging.getLogger(__name__)

MAX_STARTS = 40
MAX_BYTES = 64 << 10
TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "float": (int, float), "bool": (bool,)}


def history_file(cache_root: str) -> Path:
    """The file that belongs to a cache directory; beside it, since anything inside counts as a warm cache."""
    return Path(f"{cache_root.rstrip('/')}.starts.json")


def read_history(path: Path) -> list[RecordedStart]:
    """The recorded starts, oldest first; what cannot be read counts as nothing."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        entries = json.loads(content) if len(content) <= MAX_BYTES else []
    except (OSError, ValueError, RecursionError):
        return []
    found = [parsed(entry) for entry in entries] if isinstance(entries, list) else []
    return [start for start in found if start is not None]


def parsed(entry: object) -> RecordedStart | None:
    """One entry; None where it has not the fields of a start."""
    if not isinstance(entry, dict):
        return None
    wanted = {field.name: TYPES[str(field.type)] for field in fields(RecordedStart)}
    if entry.keys() != wanted.keys() or not all(isinstance(entry[name], kind) for name, kind in wanted.items()):
        return None
    return RecordedStart(**entry)


def append(path: Path, earlier: Sequence[RecordedStart], start: RecordedStart) -> None:
    """Write the newest starts, this one last. A directory that cannot be written to costs the history alone."""
    kept = [asdict(each) for each in (*earlier, start)][-MAX_STARTS:]
    while len(text := json.dumps(kept, ensure_ascii=False).encode()) > MAX_BYTES and len(kept) > 1:
        kept = kept[len(kept) // 2 :]
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(text)
        partial.replace(path)
    except OSError as error:
        logger.debug("the start is not recorded in %s: %s", path, error)
