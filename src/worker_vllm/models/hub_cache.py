"""Hub caches on disk: `models--org--name/{refs/<ref>, snapshots/<commit>/…}`, read without huggingface_hub.

RunPod's cached models use the same layout, sometimes with the directory name in lower case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One commit of a repository on disk."""

    path: Path
    commit: str
    guessed: bool = False  # no ref names this commit: it is the only or the newest snapshot


def folder_name(repo_id: str) -> str:
    """The name of this repository's directory in a hub cache."""
    return "--".join(["models", *repo_id.split("/")])


def repositories(cache: Path, repo_id: str) -> list[Path]:
    """The repository's directories in this cache: the exact spelling first, then any other letter case."""
    wanted = folder_name(repo_id)
    exact = cache / wanted
    found = [exact] if exact.is_dir() else []
    try:
        names = sorted(entry.name for entry in cache.iterdir())
    except OSError:
        return found
    return found + [cache / name for name in names if name != wanted and name.lower() == wanted.lower()]


def snapshot(repository: Path, revision: str | None) -> Snapshot | None:
    """The snapshot of `revision` (branch, tag, commit or its first 7 or more digits); None when it is not on disk.

    Without a revision: the commit in refs/main, else the newest snapshot.
    """
    snapshots = repository / "snapshots"
    commits = _commits(snapshots)
    referenced = _reference(repository, revision or "main")
    if referenced in commits:
        return Snapshot(snapshots / str(referenced), str(referenced))
    if revision is None:
        return Snapshot(snapshots / commits[0], commits[0], guessed=True) if commits else None
    if _COMMIT.fullmatch(revision):
        matches = [commit for commit in commits if commit.startswith(revision)]
        if len(matches) == 1:
            return Snapshot(snapshots / matches[0], matches[0])
    return None


def _reference(repository: Path, name: str) -> str | None:
    path = repository / "refs" / name
    if ".." in Path(name).parts or path.is_dir():
        return None
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _commits(snapshots: Path) -> list[str]:
    """Every snapshot's commit, the newest first."""
    try:
        entries = [entry for entry in snapshots.iterdir() if entry.is_dir()]
    except OSError:
        return []
    return [entry.name for entry in sorted(entries, key=lambda entry: (-entry.stat().st_mtime, entry.name))]
