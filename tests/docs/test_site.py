"""The documentation site builds without a warning: every link and anchor leads somewhere, every page is listed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT


@pytest.mark.timeout(120)
def test_the_site_builds_without_a_warning_and_is_searchable_offline(tmp_path: Path) -> None:
    """`make docs`; the pages load nothing from another host."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n", "-b", "html", "docs", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    assert "quickstart" in (tmp_path / "searchindex.js").read_text()
    loaded = {
        address
        for page in tmp_path.glob("*.html")
        for address in re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(https?://[^\"]+)\"", page.read_text())
    }
    assert loaded == set()


def targets(page: Path) -> set[Path]:
    """The files that a page outside the site links to."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    return {(page.parent / link).resolve() for link in links if "://" not in link}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", "benchmarks/start.md"])
def test_links_of_pages_outside_the_site_lead_to_files(name: str) -> None:
    missing = {path for path in targets(ROOT / name) if not path.exists()}
    assert missing == set()


WALKED = (ROOT / "docs" / "contributing.md").read_text()
SHOWN = re.findall(r"```\w+ (\S+)\n(.*?)```", WALKED, re.DOTALL)


@pytest.mark.parametrize(("path", "code"), SHOWN)
def test_the_walked_examples_are_in_the_repository(path: str, code: str) -> None:
    """docs/contributing.md shows code of today, letter by letter."""
    assert code in (ROOT / path).read_text()


def test_the_pages_of_contributors_show_code() -> None:
    assert len(SHOWN) == WALKED.count("```") // 2 >= 8
