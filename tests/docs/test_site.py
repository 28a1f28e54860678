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
    assert '<script src="searchindex.js"' in (tmp_path / "search.html").read_text()
    loaded = {
        address
        for page in tmp_path.glob("*.html")
        for address in re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(https?://[^\"]+)\"", page.read_text())
    }
    assert loaded == set()


LINKED = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "examples/README.md",
    "benchmarks/README.md",
    "benchmarks/start.md",
)


def links(page: Path) -> set[tuple[Path, str]]:
    """File and anchor of each link of a page outside the site; a link within the page names the page."""
    found = re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", page.read_text())
    return {((page.parent / link).resolve() if link else page, anchor) for link, anchor in found if "://" not in link}


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", LINKED)
def test_links_of_pages_outside_the_site_lead_to_files_and_headings(name: str) -> None:
    missing = {
        f"{path.name}#{anchor}"
        for path, anchor in links(ROOT / name)
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path))
    }
    assert missing == set()


def test_the_readme_leads_to_every_page() -> None:
    """Or to a page that includes it."""
    pages = set((ROOT / "docs").glob("*.md")) - {path for path, _ in links(ROOT / "README.md")}
    assert {page.name for page in pages} == {
        *("index.md", "benchmarks.md", "start.md"),  # the site's own contents; includes of files that are linked
        *("contributing.md", "release.md", "worker-config.md"),  # from CONTRIBUTING.md and migration.md
    }


WALKED = (ROOT / "docs" / "contributing.md").read_text()
SHOWN = re.findall(r"```\w+ (\S+)\n(.*?)```", WALKED, re.DOTALL)


@pytest.mark.parametrize(("path", "code"), SHOWN)
def test_the_walked_examples_are_in_the_repository(path: str, code: str) -> None:
    """docs/contributing.md shows code of today, letter by letter."""
    assert code in (ROOT / path).read_text()


def test_the_pages_of_contributors_show_code() -> None:
    assert len(SHOWN) == WALKED.count("```") // 2 >= 8
