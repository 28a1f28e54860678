"""Download one repository from the hub into a hub cache: `python -m worker_vllm.models.download REQUEST`.

It runs as a separate process, so that the worker never imports huggingface_hub and can cancel a download at any time.
The kernel kills it when its parent exits. REQUEST is the JSON of a DownloadRequest. Events are written to stdout as
JSON lines, each with `event`: waiting, progress, note, found, failed.
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
from worker_vllm.models.progress import call_every, format_size
from worker_vllm.models.references import Reference, Role

PR_SET_PDEATHSIG = 1
RESERVED_BYTES = 256 << 20  # kept free for the files that the engine writes
PROGRESS_S = 5.0
LEFTOVER_S = 120.0  # a partial file that was not written to for this long has no writer

Event = Mapping[str, Any]
Report = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """What to download, the hub cache it goes to, and the cache to use when that one is not writable."""

    reference: Reference
    required: completeness.RequiredFiles
    load_format: str
    target: Path
    fallback: Path

    def to_json(self) -> str:
        """The command line argument of the download process."""
        reference, required = self.reference, self.required
        return json.dumps(
            {
                "reference": [reference.role, reference.name, reference.revision],
                "required": [required.weights, required.tokenizer, required.code],
                "load_format": self.load_format,
                "target": str(self.target),
                "fallback": str(self.fallback),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> DownloadRequest:
        """The inverse of to_json."""
        fields = json.loads(text)
        role, name, revision = fields["reference"]
        return cls(
            reference=Reference(Role(role), name, revision),
            required=completeness.RequiredFiles(*fields["required"]),
            load_format=fields["load_format"],
            target=Path(fields["target"]),
            fallback=Path(fields["fallback"]),
        )


def fetch(request: DownloadRequest, token: str | None, report: Report, timing: LockTiming) -> Path:
    """Download the repository, or wait for another worker that does so. Returns the snapshot's directory.

    Raises HubError.
    """
    target = _writable(request, report)
    folder = hub_cache.folder_name(request.reference.name)

    def waiting(holder: object) -> None:
        report({"event": "waiting", "holder": str(holder), "bytes": _bytes_below(target / folder)})

    with DownloadLock(target / ".locks" / f"{folder}.worker-vllm.lock", waiting, timing):
        ready = _completed_snapshot(request, target)
        if ready is not None:
            return ready
        _remove_leftovers(target / folder)
        plan = hub_client.plan(request.reference, request.load_format, target, token)
        if token and plan.token is False:
            report(
                {
                    "event": "note",
                    "text": "the hub refuses HF_TOKEN; this model is public, so it is downloaded without",
                }
            )
        _check_free_space(plan, target)
        before = _bytes_below(target / folder)

        def progress() -> None:
            report({"event": "progress", "bytes": _bytes_below(target / folder) - before, "total": plan.size})

        with call_every(PROGRESS_S, progress):
            return hub_client.into_cache(plan, target)


def _writable(request: DownloadRequest, report: Report) -> Path:
    """The first writable cache of the two. Raises HubError when neither is."""
    for cache in (request.target, request.fallback):
        probe = cache / f".worker-vllm-{os.getpid()}"
        try:
            cache.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            report({"event": "note", "text": f"{cache} cannot be written to ({error.strerror})"})
        else:
            return cache
    directories = f"{request.target} and {request.fallback}"
    raise hub_client.HubError(
        hub_client.Cause.DISK,
        f"{request.reference.name} cannot be stored: {directories} are not writable; "
        "set BASE_PATH or DOWNLOAD_DIR to a writable directory",
    )


def _completed_snapshot(request: DownloadRequest, target: Path) -> Path | None:
    """The directory of a complete snapshot, if another worker finished it while this one waited; else None."""
    for repository in hub_cache.repositories(target, request.reference.name):
        snapshot = hub_cache.snapshot(repository, request.reference.revision)
        if snapshot is not None and not missing(snapshot.path, request.reference, request.required):
            return snapshot.path
    return None


def _check_free_space(plan: hub_client.DownloadPlan, target: Path) -> None:
    """Raise HubError when the remaining files do not fit into the free space."""
    repository = target / hub_cache.folder_name(plan.reference.name)
    present = sum(
        size
        for name, size in plan.files.items()
        if (path := repository / "snapshots" / plan.commit / name).is_file() and path.stat().st_size == size
    )
    needed, free = plan.size - present, shutil.disk_usage(target).free
    if needed + RESERVED_BYTES > free:
        room = f"{plan.reference.name} needs {format_size(needed)} more, {target} has {format_size(free)} free"
        change = "make the container disk or the volume larger, or point BASE_PATH or DOWNLOAD_DIR at a larger one"
        raise hub_client.HubError(hub_client.Cause.DISK, f"{room}: {change}")


def _remove_leftovers(repository: Path) -> None:
    """Delete partial files of downloads that were killed, because huggingface_hub never continues them."""
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
    """Download the repository of the request in argv; exit status 0 on success, 1 on failure."""

    def report(event: Event) -> None:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    request = DownloadRequest.from_json(sys.argv[1])
    try:
        path = fetch(request, os.environ.get("HF_TOKEN") or None, report, LockTiming())
    except hub_client.HubError as error:
        report({"event": "failed", "cause": error.cause, "message": str(error)})
        return 1
    report({"event": "found", "path": str(path)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
