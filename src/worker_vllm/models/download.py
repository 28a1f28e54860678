"""Bring one repository from the hub into a hub cache: `python -m worker_vllm.models.download REQUEST`.

A process of its own, so that the worker stays light and can end a download at any time; it dies with its parent.
REQUEST is the JSON of a Request; what happens comes out as JSON lines, each with `event`: waiting, progress, note,
found, failed.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker_vllm.models import completeness, hub_cache, hub_client
from worker_vllm.models.locate import missing
from worker_vllm.models.lock import DownloadLock, LockTiming
from worker_vllm.models.progress import every, told_size
from worker_vllm.models.references import Reference, Role

PR_SET_PDEATHSIG = 1
SPARE_BYTES = 256 << 20  # for the engine's own files beside the model
PROGRESS_S = 5.0
LEFTOVER_S = 120.0  # a partial file that nobody wrote to for so long has no writer

Event = Mapping[str, Any]
Say = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """What to fetch, and the hub cache it goes to; `spare`, another one, where the first cannot be written to."""

    reference: Reference
    need: completeness.Need
    load_format: str
    target: Path
    spare: Path

    def to_json(self) -> str:
        """The text that the process takes as its argument."""
        reference, need = self.reference, self.need
        return json.dumps(
            {
                "reference": [reference.role, reference.name, reference.revision],
                "need": [need.weights, need.tokenizer, need.code],
                "load_format": self.load_format,
                "target": str(self.target),
                "spare": str(self.spare),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> DownloadRequest:
        """The inverse of to_json."""
        told = json.loads(text)
        role, name, revision = told["reference"]
        return cls(
            reference=Reference(Role(role), name, revision),
            need=completeness.Need(*told["need"]),
            load_format=told["load_format"],
            target=Path(told["target"]),
            spare=Path(told["spare"]),
        )


def fetch(request: DownloadRequest, token: str | None, say: Say, pace: LockTiming) -> Path:
    """Download, or wait for another worker that does; the snapshot's directory. Raises hub.HubError."""
    target = _writable(request, say)
    folder = hub_cache.folder_name(request.reference.name)

    def waiting(holder: object) -> None:
        say({"event": "waiting", "holder": str(holder), "bytes": _bytes_below(target / folder)})

    with DownloadLock(target / ".locks" / f"{folder}.worker-vllm.lock", waiting, pace):
        ready = _already_there(request, target)
        if ready is not None:
            return ready
        _remove_leftovers(target / folder)
        plan = hub_client.plan(request.reference, request.load_format, target, token)
        if token and plan.token is False:
            say({"event": "note", "text": "the hub refuses HF_TOKEN; not needed here, so it was left out"})
        _check_room(plan, target)
        before = _bytes_below(target / folder)

        def progress() -> None:
            say({"event": "progress", "bytes": _bytes_below(target / folder) - before, "total": plan.size})

        with every(PROGRESS_S, progress):
            return hub_client.into_cache(plan, target)


def _writable(request: DownloadRequest, say: Say) -> Path:
    """The first of the two caches that a file can be written to. Raises HubError."""
    for cache in (request.target, request.spare):
        probe = cache / f".worker-vllm-{os.getpid()}"
        try:
            cache.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            say({"event": "note", "text": f"{cache} cannot be written to ({error.strerror})"})
        else:
            return cache
    places = f"{request.target} and {request.spare}"
    raise hub_client.HubError(
        hub_client.Cause.DISK, f"no place for {request.reference.name}: {places} cannot be written to"
    )


def _already_there(request: DownloadRequest, target: Path) -> Path | None:
    """The snapshot that another worker completed while this one waited."""
    for repository in hub_cache.repositories(target, request.reference.name):
        snapshot = hub_cache.snapshot(repository, request.reference.revision)
        if snapshot is not None and not missing(snapshot.path, request.reference, request.need):
            return snapshot.path
    return None


def _check_room(plan: hub_client.DownloadPlan, target: Path) -> None:
    """Raise HubError when what is still to be fetched does not fit."""
    repository = target / hub_cache.folder_name(plan.reference.name)
    there = sum(
        size
        for name, size in plan.files.items()
        if (path := repository / "snapshots" / plan.commit / name).is_file() and path.stat().st_size == size
    )
    needed, free = plan.size - there, shutil.disk_usage(target).free
    if needed + SPARE_BYTES > free:
        room = f"{plan.reference.name} needs {told_size(needed)} more, {target} has {told_size(free)} free"
        change = "make the container disk or the volume larger, or point BASE_PATH or DOWNLOAD_DIR at a larger one"
        raise hub_client.HubError(hub_client.Cause.DISK, f"{room}: {change}")


def _remove_leftovers(repository: Path) -> None:
    """Partial files of downloads that were killed: huggingface_hub never continues them."""
    blobs = repository / "blobs"
    if not blobs.is_dir():
        return
    probe = blobs / f".worker-vllm-{os.getpid()}"
    probe.write_bytes(b"")
    now = probe.stat().st_mtime
    probe.unlink()
    for partial in blobs.glob("*.incomplete"):
        if now - partial.stat().st_mtime > LEFTOVER_S:
            partial.unlink(missing_ok=True)


def _bytes_below(repository: Path) -> int:
    try:
        return sum(entry.stat().st_size for entry in os.scandir(repository / "blobs"))
    except OSError:
        return 0


def main() -> int:
    """Fetch what the argument asks for; exit status 0 when it was found, 1 when it failed."""

    def say(event: Event) -> None:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    request = DownloadRequest.from_json(sys.argv[1])
    try:
        path = fetch(request, os.environ.get("HF_TOKEN") or None, say, LockTiming())
    except hub_client.HubError as error:
        say({"event": "failed", "cause": error.cause, "message": str(error)})
        return 1
    say({"event": "found", "path": str(path)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
