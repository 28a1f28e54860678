"""Where crash bundles are kept: on the volume if there is one, else in the temporary directory; the newest ten."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

MAX_BUNDLES = 10
FOLDER = ".worker-vllm/crashes"
NAME = re.compile(r"crash-\d{8}T\d{6}Z-[\w.-]{1,80}-\d+\.json")
UNSAFE = re.compile(r"[^\w.-]+", re.ASCII)


def crash_directory(volume: Path, temporary: Path, user: int) -> Path:
    """The directory, which only this user can enter. Raises OSError where neither place has one."""
    if volume.is_dir() and os.access(volume, os.W_OK):
        try:
            return private(volume / FOLDER, user)
        except OSError:
            pass  # read-only, full, or another user's: the temporary directory remains
    return private(temporary / f"vllm-worker-crashes-{user}", user)


def private(directory: Path, user: int) -> Path:
    """Create the directory with mode 0700. Raises OSError where it is another user's, or a link."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != user:
        raise PermissionError(f"{directory} is not a directory of user {user}")
    return directory


def bundle_name(compact_time: str, worker: str, number: int) -> str:
    """The file's name: time in UTC, worker, and the number of the death within this process."""
    return f"crash-{compact_time}-{UNSAFE.sub('_', worker)[:80] or 'worker'}-{number}.json"


def write_bundle(directory: Path, name: str, content: Callable[[str], bytes]) -> Path:
    """Write a bundle, whole or not at all, readable by this user alone; the oldest beyond the limit go.

    `content` gets the path. Raises OSError.
    """
    path = directory / name
    partial = directory / f".{name}.{os.getpid()}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content(str(path)))
        partial.rename(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    for old in sorted(each for each in directory.iterdir() if NAME.fullmatch(each.name))[:-MAX_BUNDLES]:
        old.unlink(missing_ok=True)
    return path
