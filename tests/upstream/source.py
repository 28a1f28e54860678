"""vLLM's own tests, from its source distribution: fetched by pip, as it is configured, into a folder git ignores."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.support.paths import ROOT

CACHE = ROOT / ".cache" / "upstream"
KEPT = ("tests", "examples", "pyproject.toml")
FETCH_LIMIT_S = 300

# pip insists on a package's metadata before it hands out the archive, and asks the package's build backend for it.
# This backend stands in for the real one: nothing of the archive is run, nothing is built.
BACKEND = """
from pathlib import Path

def get_requires_for_build_wheel(config_settings=None):
    return []

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = Path(metadata_directory, "vllm-{version}.dist-info")
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: vllm\\nVersion: {version}\\n")
    return folder.name
"""


def fetched(version: str, cache: Path = CACHE) -> Path:
    """The folder with `tests/` of that version; fetched and unpacked unless it is there already."""
    folder = cache / f"vllm-{version}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            unpacked = unpack(download(version, Path(scratch)), Path(scratch, "unpacked"))
            unpacked.rename(folder)
    return folder


def download(version: str, folder: Path) -> Path:
    """The archive of the source distribution. Raises RuntimeError with pip's words when there is none to be had."""
    backend = folder / "backend" / "setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build_meta.py").write_text(BACKEND.format(version=version))
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-build-isolation", "--no-binary", "vllm"]
    done = subprocess.run(
        [*pip, "--dest", str(folder), f"vllm=={version}"],
        env={**os.environ, "PYTHONPATH": str(backend.parent)},
        capture_output=True,
        text=True,
        timeout=FETCH_LIMIT_S,
        check=False,
    )
    archives = list(folder.glob("vllm-*.tar.gz"))
    if done.returncode or len(archives) != 1:
        raise RuntimeError(f"pip could not fetch the source of vllm {version}:\n{done.stdout}{done.stderr}")
    return archives[0]


def unpack(archive: Path, folder: Path) -> Path:
    """What the tests need of the archive, in `folder`; its single top folder is left out."""
    with tarfile.open(archive) as tar:
        wanted = []
        for member in tar:
            inside = member.name.partition("/")[2]
            if inside.split("/")[0] in KEPT:
                wanted.append(member.replace(name=inside))
        tar.extractall(folder, wanted, filter="data")
    return folder
