"""Stand-ins for the base images, which lie in registries: a minimal Debian with this checkout's Python.

`vllm_base` has the layout of vLLM's image: a Python in /usr/local with vLLM (its build for CPU) and all it needs, the
working directory /vllm-workspace and the entry point `vllm serve`. `python_base` has that of python:3-slim.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.containers import podman
from tests.support.paths import ROOT
from worker_vllm.settings.versions import CUDA

RECIPE = "2"  # raised with every change of what is in a stand-in, which is then built again
DEBIAN = "localhost/debian:minbase"
DEBIAN_PACKAGES = (
    "ca-certificates,libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,zlib1g,libreadline8,libnuma1,libexpat1,"
    "gcc,g++,libc6-dev,procps"
)
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# Of this checkout's environment, what vLLM's image does not have.
NOT_IN_BASE = ("__editable__*", "worker_vllm*", "_worker_vllm*", "mypy*", "ruff*", "hadolint*")


def debian() -> str:
    """A minimal Debian from its package archive."""
    if not podman.image_exists(DEBIAN):
        archive = podman.STATE / "debian.tar"
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={DEBIAN_PACKAGES}", "bookworm", str(archive)],
            check=True,
            timeout=900,
        )
        podman.output("podman", "import", "--quiet", str(archive), DEBIAN, timeout_s=600)
        archive.unlink()
    return DEBIAN


def vllm_base() -> str:
    """An image with the layout of vLLM's own and the locked engine for CPU."""
    name = f"localhost/vllm-openai:{_key((ROOT / 'requirements' / 'engine-cpu.lock').read_bytes())}"
    if not podman.image_exists(name):
        variables = {"CUDA_VERSION": CUDA}
        entry = ["--workingdir", "/vllm-workspace", "--entrypoint", json.dumps(["vllm", "serve"])]
        _commit(name, Path(sysconfig.get_path("purelib")), NOT_IN_BASE, variables, entry)
    return name


def python_base() -> str:
    """An image with the layout of python:3-slim: a Python, pip, and PyTorch, whose index may be out of reach."""
    name = f"localhost/python-slim:{_key(b'all of torch')}"
    if not podman.image_exists(name):
        site = podman.STATE / "pip"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site)]
        subprocess.run([*pip, "pip", "setuptools"], check=True, timeout=300)
        for name_of_part in _top_level("torch"):
            part = Path(sysconfig.get_path("purelib"), name_of_part)
            shutil.copytree(part, site / part.name, symlinks=True, dirs_exist_ok=True)
        _commit(name, site, (), {}, ["--entrypoint", "[]", "--cmd", "python3"])
        shutil.rmtree(site)
    return name


def _top_level(distribution: str) -> list[str]:
    """The directories of an installed distribution: its packages, of other names too, and its metadata."""
    files = importlib.metadata.files(distribution) or []
    return sorted({file.parts[0] for file in files if len(file.parts) > 1 and file.parts[0] != ".."})


def _key(content: bytes) -> str:
    return hashlib.sha256(RECIPE.encode() + content + sys.version.encode()).hexdigest()[:12]


def _commit(name: str, packages: Path, without: tuple[str, ...], variables: dict[str, str], entry: list[str]) -> None:
    """Debian, this interpreter and a directory of packages as one image."""
    container = podman.output("buildah", "from", debian())
    try:
        root = Path(podman.output("buildah", "mount", container))
        library = _install_python(root, packages, without)
        if "CUDA_VERSION" in variables:  # vLLM's image is Ubuntu's Python, which pip must be told to change
            (library / "EXTERNALLY-MANAGED").write_text("[externally-managed]\nError=managed\n")
        _trust_this_machine_s_certificates(root)
        path = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = [f"--env={key}={value}" for key, value in {"PATH": path, **variables}.items()]
        podman.output("buildah", "config", *entry, *environment, container)
        podman.output("buildah", "umount", container, timeout_s=900)
        podman.output("buildah", "commit", "--quiet", "--format", "docker", container, name, timeout_s=1800)
    finally:
        podman.call("buildah", "rm", container, timeout_s=900)


def _install_python(root: Path, packages: Path, without: tuple[str, ...]) -> Path:
    """The interpreter, its library and the packages, in the image's /usr/local; the library's directory."""
    source, local = Path(sys.base_prefix), root / "usr" / "local"
    for name in (f"python{VERSION}", "python3"):
        shutil.copy2((source / "bin" / name).resolve(), local / "bin" / name)
    for library in (source / "lib").glob(f"libpython{VERSION}*"):
        shutil.copy2(library, local / "lib" / library.name)
    shutil.copytree(source / "include" / f"python{VERSION}", local / "include" / f"python{VERSION}")
    library = local / "lib" / f"python{VERSION}"
    ignore = shutil.ignore_patterns("site-packages", "dist-packages", "test")
    shutil.copytree(source / "lib" / f"python{VERSION}", library, symlinks=True, ignore=ignore)
    # Some interpreters prefer a directory of another name: it is asked for its own.
    ask = [
        "chroot",
        str(root),
        "/usr/local/bin/python3",
        "-c",
        "import sysconfig; print(sysconfig.get_path('purelib'))",
    ]
    subprocess.run(["chroot", str(root), "ldconfig"], check=True)
    site = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    shutil.copytree(packages, root / site.lstrip("/"), symlinks=True, ignore=shutil.ignore_patterns(*without))
    return library


def _trust_this_machine_s_certificates(root: Path) -> None:
    """The build asks the package index as this machine does: through its certificates."""
    if CERTIFICATES.is_file():
        shutil.copy2(CERTIFICATES, root / "etc" / "ssl" / "certs" / CERTIFICATES.name)
    (root / "etc" / "pip.conf").write_text(f"[global]\ncert = {CERTIFICATES}\n")
