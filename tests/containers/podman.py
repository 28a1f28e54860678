"""podman and buildah with images and settings of their own, below the checkout's `.cache/containers`.

Works with Debian's packages, as root, without a registry. `runc` because `crun` refuses hybrid control groups;
`chroot` isolation because a build needs no container of its own.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

STATE = ROOT / ".cache" / "containers"
# A short path: container sockets lie below it.
RUN = Path("/run") / f"wv-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"
COMMANDS = ("podman", "buildah", "runc", "mmdebstrap", "iptables", "catatonit", "conmon")
PACKAGES = (*COMMANDS, "netavark", "aardvark-dns", "debian-archive-keyring")
# More options for every container, such as --cgroup-parent on a machine that is shared.
EXTRA_OPTIONS = "CONTAINER_OPTIONS"

_CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4000:4000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""
_STORAGE_CONF = """\
[storage]
driver = "overlay"
graphroot = "{root}"
runroot = "{run}"
"""
_POLICY = {"default": [{"type": "insecureAcceptAnything"}]}


def environment() -> dict[str, str]:
    """The variables that give podman, buildah and podman-compose these images and settings; writes the files."""
    STATE.mkdir(parents=True, exist_ok=True)
    files = {
        "containers.conf": _CONTAINERS_CONF,
        "storage.conf": _STORAGE_CONF.format(root=STATE / "storage", run=RUN),
        "registries.conf": "unqualified-search-registries = []\nshort-name-mode = 'permissive'\n",
    }
    for name, text in files.items():
        if not (STATE / name).is_file() or (STATE / name).read_text() != text:
            (STATE / name).write_text(text)
    return {
        **os.environ,
        "CONTAINERS_CONF": str(STATE / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(STATE / "storage.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(STATE / "registries.conf"),
        "BUILDAH_ISOLATION": "chroot",
    }


class Failed(AssertionError):
    """A command of podman or buildah that ended with another exit status than 0."""


def call(
    *words: str, timeout_s: float = 120, stdin: str | None = None, more: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command with these images and settings; its exit status is not judged."""
    return subprocess.run(
        words,
        check=False,
        env={**environment(), **(more or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def output(*words: str, timeout_s: float = 120, more: dict[str, str] | None = None) -> str:
    """The standard output of a command that must succeed. Raises Failed with the end of its output."""
    done = call(*words, timeout_s=timeout_s, more=more)
    if done.returncode:
        raise Failed(f"{shlex.join(words[:4])} … exits {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout.strip()


def inspect(kind: str, name: str) -> dict[str, Any]:
    """What podman knows of an image or a container."""
    found: dict[str, Any] = json.loads(output("podman", kind, "inspect", name))[0]
    return found


def image_exists(name: str) -> bool:
    """Whether an image of this name lies in the store."""
    return call("podman", "image", "exists", name).returncode == 0


def run_options() -> Sequence[str]:
    """The options that the machine's owner gives every container."""
    return shlex.split(os.environ.get(EXTRA_OPTIONS, ""))


@functools.cache
def missing() -> str | None:
    """Why no container can be run here; None when one can. Installs Debian's packages where it may."""
    if os.geteuid() != 0:
        return "containers need root"
    if absent := _absent():
        if shutil.which("apt-get") is None:
            return f"containers need {', '.join(absent)}: install them (this machine has no apt-get)"
        failure = _install()
        if absent := _absent():
            return f"containers need {', '.join(absent)}: apt-get install {' '.join(PACKAGES)}: {failure}"
    done = call("podman", "info", "--format", "{{.Host.OCIRuntime.Name}}")
    if done.returncode:
        return f"podman does not work here: {done.stderr.strip()[-300:]}"
    return None


def _absent() -> list[str]:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return [name for name in COMMANDS if shutil.which(name, path=path) is None]


def _install() -> str:
    """Install with apt-get; the end of its output."""
    variables = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    for words in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(words, check=False, env=variables, capture_output=True, text=True, timeout=900)
    return (done.stdout + done.stderr).strip()[-300:]
