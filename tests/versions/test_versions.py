"""The worker with each supported vLLM: the core set is run by the interpreter of that version's own environment."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.settings.test_specification import CASES
from tests.support.paths import ROOT
from worker_vllm.errors import ConfigurationError
from worker_vllm.settings import versions
from worker_vllm.settings.flags.flag_table import flag_table
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import load

pytestmark = [pytest.mark.versions, pytest.mark.timeout(3000)]

# Those with a build for CPU on the package index.
ENGINES = ("0.27.1", "0.30.0", "0.31.0", versions.VLLM)
FLAGS_ALONE = "0.33.0"
LIMIT_S = 1800
# What is checked → the tests that check it, those that need the real engine.
CORE = {
    "start": ("tests/versions/test_core.py", "starts"),
    "routes": ("tests/versions/test_core.py", "route"),
    "parity": ("tests/parity/test_parity.py", "not thousand"),
    "cancel": ("tests/clients/test_concurrency.py", "aborted"),
    "streams": ("tests/clients/test_concurrency.py", "concurrent"),
    "flags": ("tests/settings/vllm/test_flag_data.py", "installed"),
    "settings": ("tests/settings/vllm/test_against_vllm.py", ""),
}


@functools.cache
def interpreter(version: str) -> str:
    """The Python of an environment with that vLLM; `make test-versions` has set it up, or it is set up now."""
    if version == versions.VLLM:
        return sys.executable
    path = ROOT / f".venv-vllm-{version}" / "bin" / "python"
    done = subprocess.run(
        [str(ROOT / "scripts" / "setup.sh"), "version", version], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return str(path)


@dataclass(frozen=True)
class Outcome:
    """What a part of the core set came to."""

    passed: int
    failed: tuple[str, ...]
    output: str


def run_part(version: str, path: str, words: str) -> Outcome:
    """Run one part; its tests' outcomes."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory, "report.xml")
        command = [interpreter(version), "-m", "pytest", "-q", "-m", "vllm", "-p", "no:cacheprovider", path]
        environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
        done = subprocess.run(
            [*command, *(("-k", words) if words else ()), f"--junitxml={report}"],
            check=False,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        cases = list(ElementTree.parse(report).iter("testcase"))
    failed = tuple(str(case.get("name")) for case in cases if len(case))
    return Outcome(len(cases) - len(failed), failed, done.stdout[-6000:])


@pytest.mark.parametrize("part", CORE)
@pytest.mark.parametrize("version", ENGINES)
def test_the_core_set(version: str, part: str, figure: Callable[[str], None]) -> None:
    """Start, routes, parity, cancel, streams at once, flag data, and settings judged by the version's own parser."""
    found = run_part(version, *CORE[part])
    figure(f"{found.passed} of {found.passed + len(found.failed)}")
    assert found.passed, found.output
    assert found.failed == (), found.output


def test_a_version_without_a_build_for_cpu_is_checked_by_its_flags(figure: Callable[[str], None]) -> None:
    """Every documented setting becomes flags that this version has; none needs a decision."""
    table = flag_table(FLAGS_ALONE)
    options = {name for flag in table.flags.values() for name in (flag.flag, *flag.aliases)}
    options |= {f"--no-{flag.flag[2:]}" for flag in table.flags.values() if flag.kind == "pair"}
    checked = 0
    for case in CASES.values():
        try:
            arguments = load(case.env, HostFacts(vllm=FLAGS_ALONE)).engine.arguments
        except ConfigurationError as refused:
            raise AssertionError((case.env, str(refused))) from refused
        used = {word.partition("=")[0] for word in arguments if word.startswith("--")}
        assert used <= options, (case.env, used - options)
        checked += 1
    figure(f"{checked} of {len(CASES)}")
