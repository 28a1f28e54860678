"""Carries out a Dockerfile without a container engine: each stage in an overlay over this machine's root.

Run as root in namespaces of its own: `unshare --mount --pid --fork python -m images.build PLAN OUT`. The base image
is stood in by the Python environment that PLAN names. Every RUN is executed in a chroot, in order, with its mounts,
arguments and variables; what the last stage wrote is its layer, copied to OUT/layer. Then PLAN's command is run in
the result, with no network but loopback and OUT at /mnt.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.images.dockerfile import Dockerfile, Stage, Step, assignments, expand


@dataclass(frozen=True)
class Plan:
    """What to build, from where, and what to run in the result."""

    dockerfile: str
    context: str
    arguments: Mapping[str, str]
    secrets: Mapping[str, str]  # id → file on this machine
    base: str  # the Python environment that is the base image's
    base_variables: Mapping[str, str]  # what the base image's own ENV sets
    work: str  # an empty directory
    outside: Mapping[str, str]  # variables of the build machine that every RUN sees, such as a proxy's
    volumes: tuple[str, ...] = ()  # directories that an empty volume is mounted over before the command runs
    command: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)  # for the command, over the image's own


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


@dataclass
class Root:
    """One stage's file system: an overlay of the machine's root, with `upper` for the stage's writes."""

    path: Path
    upper: Path
    variables: dict[str, str]
    directory: str = "/"

    @classmethod
    def over_machine(cls, work: Path, name: str, variables: Mapping[str, str]) -> Root:
        path, upper, scratch = (work / f"{name}-{part}" for part in ("root", "upper", "work"))
        for each in (path, upper, scratch):
            each.mkdir()
        mount("-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={scratch}", str(path))
        for shared in ("dev", "sys"):
            mount("--rbind", f"/{shared}", str(path / shared))
        mount("-t", "proc", "proc", str(path / "proc"))
        return cls(path, upper, dict(variables))

    def at(self, inside: str) -> Path:
        """Where a path of the image is on this machine."""
        return self.path / os.path.join(self.directory, inside).lstrip("/")

    def run(self, command: list[str], before: tuple[str, ...] = (), **variables: str) -> None:
        """Run in the chroot; CalledProcessError when it fails."""
        change = ["chroot", str(self.path), "env", "-i", f"--chdir={self.directory}"]
        values = [f"{name}={value}" for name, value in {**self.variables, **variables}.items()]
        subprocess.run([*before, *change, *values, *command], check=True)


def build(plan: Plan) -> Root:
    """Every stage; the last one's root."""
    file = Dockerfile.read(Path(plan.dockerfile))
    given = {**file.arguments, **{name: text for name, text in plan.arguments.items() if name in file.arguments}}
    roots: dict[str, Root] = {}
    base = {"PATH": f"{plan.base}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **plan.base_variables}
    for stage in file.stages:
        assert expand(stage.base, given), f"{stage.base} has no value"
        roots[stage.name] = Root.over_machine(Path(plan.work), stage.name, base)
        carry_out(stage, roots, plan)
    return roots[file.stages[-1].name]


def carry_out(stage: Stage, roots: dict[str, Root], plan: Plan) -> None:
    root = roots[stage.name]
    arguments: dict[str, str] = {}
    for step in stage.steps:
        match step.instruction:
            case "ARG":
                defaults = assignments(step.text)
                given = {name: plan.arguments.get(name, text) for name, text in defaults.items()}
                arguments |= {
                    name: text for name, text in given.items() if "=" in step.text or name in plan.arguments
                }
            case "ENV":
                known = {**arguments, **root.variables}
                root.variables |= {name: expand(text, known) for name, text in assignments(step.text).items()}
            case "WORKDIR":
                root.directory = step.text
                root.at(".").mkdir(parents=True, exist_ok=True)
            case "COPY":
                copy(step, root, Path(plan.context))
            case "RUN":
                with mounted(step, root, roots, plan):
                    root.run(["sh", "-c", step.text], **{**plan.outside, **arguments, **root.variables})
            case "LABEL" | "STOPSIGNAL" | "HEALTHCHECK" | "ENTRYPOINT" | "CMD":
                pass
            case other:
                raise ValueError(f"{other} cannot be carried out here")


def copy(step: Step, root: Root, context: Path) -> None:
    *sources, target = step.words
    for source in sources:
        if (context / source).is_dir():
            skip = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(context / source, root.at(target), ignore=skip, dirs_exist_ok=True)
        else:
            shutil.copy(context / source, root.at(target))


@contextmanager
def mounted(step: Step, root: Root, roots: Mapping[str, Root], plan: Plan) -> Iterator[None]:
    """The mounts of one RUN, there for that step alone."""
    points: list[Path] = []
    for wanted in step.mounts:
        if wanted["type"] == "secret":
            if wanted["id"] not in plan.secrets:
                continue
            source, point = Path(plan.secrets[wanted["id"]]), root.at(f"/run/secrets/{wanted['id']}")
        else:
            below = roots[wanted["from"]].at("/") if "from" in wanted else Path(plan.context)
            source, point = below / wanted["source"].lstrip("/"), root.at(wanted["target"])
        point.parent.mkdir(parents=True, exist_ok=True)
        _ = point.mkdir() if source.is_dir() else point.touch()
        mount("--bind", str(source), str(point))
        points.append(point)
    try:
        yield
    finally:
        for point in points:
            subprocess.run(["umount", str(point)], check=True)
            _ = point.rmdir() if point.is_dir() else point.unlink()


def serve(root: Root, plan: Plan, out: str) -> None:
    """PLAN's command in the image, with volumes mounted and loopback as the only network."""
    mount("--bind", out, str(root.at("/mnt")))
    for volume in plan.volumes:
        root.at(volume).mkdir(parents=True, exist_ok=True)
        mount("-t", "tmpfs", "tmpfs", str(root.at(volume)))
    mount("-t", "tmpfs", "tmpfs", str(root.at("/dev/shm")))
    alone = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    root.directory = "/"
    root.run(list(plan.command), before=alone, **plan.variables)


def main() -> None:
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text()))
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "tmpfs", plan.work)
    root = build(plan)
    shutil.copytree(root.upper, Path(sys.argv[2], "layer"), symlinks=True, ignore=_only_files)
    if plan.command:
        serve(root, plan, sys.argv[2])


def _only_files(directory: str, names: list[str]) -> list[str]:
    """Overlay's marks for removed files are devices: no content of the layer."""
    paths = {name: Path(directory, name) for name in names}
    return [name for name, path in paths.items() if not (path.is_symlink() or path.is_dir() or path.is_file())]


if __name__ == "__main__":
    main()
