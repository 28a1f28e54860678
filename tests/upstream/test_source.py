"""What is kept of vLLM's source distribution, and what happens when it cannot be had."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tests.upstream.source import fetched, unpack


def archive(folder: Path, *names: str) -> Path:
    """A source distribution with these files."""
    path = folder / "vllm-1.2.3.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(f"vllm-1.2.3/{name}"), io.BytesIO())
    return path


def test_the_tests_and_what_they_read_are_kept(tmp_path: Path) -> None:
    """Without the archive's top folder; the package itself stays out, so that the installed one is tested."""
    path = archive(tmp_path, "vllm/a.py", "tests/utils.py", "tests/entrypoints/b.py", "pyproject.toml", "setup.py")
    found = unpack(path, tmp_path / "out")
    files = sorted(str(file.relative_to(found)) for file in found.rglob("*") if file.is_file())
    assert files == ["pyproject.toml", "tests/entrypoints/b.py", "tests/utils.py"]


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    """An archive is not trusted with the file system."""
    with pytest.raises(tarfile.OutsideDestinationError):
        unpack(archive(tmp_path, "tests/../../../out.py"), tmp_path / "out")


def test_what_is_there_already_is_not_fetched_again(tmp_path: Path) -> None:
    """Nor is the index asked."""
    (tmp_path / "vllm-1.2.3").mkdir()
    assert fetched("1.2.3", tmp_path) == tmp_path / "vllm-1.2.3"
