"""Where bundles are kept: private, bounded in number, whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from worker_vllm.engine.records.crash_directory import (
    MAX_BUNDLES,
    NAME,
    bundle_name,
    crash_directory,
    private,
    write_bundle,
)

ME = os.geteuid()


def test_on_the_volume_if_there_is_one_else_in_the_temporary_directory(tmp_path: Path) -> None:
    """Only its user may enter either."""
    volume, temporary = tmp_path / "volume", tmp_path / "tmp"
    temporary.mkdir()
    assert crash_directory(volume, temporary, ME) == temporary / f"vllm-worker-crashes-{ME}"
    volume.mkdir()
    found = crash_directory(volume, temporary, ME)
    assert found == volume / ".worker-vllm" / "crashes"
    assert stat.S_IMODE(found.stat().st_mode) == 0o700


def test_a_volume_that_refuses_leaves_the_temporary_directory(tmp_path: Path) -> None:
    """A file stands where the directory would be."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / ".worker-vllm").write_text("")
    found = crash_directory(tmp_path / "volume", tmp_path, ME)
    assert found == tmp_path / f"vllm-worker-crashes-{ME}"


def test_a_place_that_another_user_prepared_is_not_used(tmp_path: Path) -> None:
    """A link, or a directory of another user: nothing is written through it."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="is not a directory of user"):
        private(tmp_path / "link", ME)
    with pytest.raises(PermissionError, match="is not a directory of user"):
        private(tmp_path / "elsewhere", ME + 1)


def test_a_bundle_is_readable_by_its_user_alone_and_the_oldest_go(tmp_path: Path) -> None:
    """The newest ten; other files are left alone."""
    (tmp_path / "notes.json").write_text("mine")
    for number in range(MAX_BUNDLES + 3):
        name = bundle_name(f"20261125T1200{number:02d}Z", "w/1 é", number)
        assert NAME.fullmatch(name)
        path = write_bundle(tmp_path, name, lambda path: path.encode())
        assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (str(path), 0o600)
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == [*(bundle_name(f"20261125T1200{n:02d}Z", "w/1 é", n) for n in range(3, 13)), "notes.json"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Neither half a bundle nor a lost one."""

    def fails(_: str) -> bytes:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_bundle(tmp_path, "crash-20261125T120000Z-w-1.json", fails)
    assert list(tmp_path.iterdir()) == []
