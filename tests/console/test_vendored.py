"""Third-party files are what their lists say, with their licences, and the wheel carries the page."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path

import pytest

from tests.console.browser import DOCUMENTATION, DOCUMENTED
from tests.support.paths import ROOT

STATIC = ROOT / "src" / "worker_vllm" / "console" / "static"
FOLDERS = (STATIC / "vendor", ROOT / "tests" / "console" / "vendor")
SCRIPTS = sorted((STATIC / "js").rglob("*.js"))
PERMITTED = {"Apache-2.0", "MIT", "MPL-2.0", "(MPL-2.0 OR Apache-2.0)"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_every_vendored_file_is_listed_with_its_hash_and_licence(folder: Path) -> None:
    """No file that the list does not name, none that was edited."""
    listed = json.loads((folder / "VENDORED.json").read_text())["files"]
    assert {one["file"] for one in listed} == {
        path.name for path in folder.iterdir() if path.suffix in (".js", ".css")
    }
    for one in listed:
        assert hashlib.sha256((folder / one["file"]).read_bytes()).hexdigest() == one["sha256"], one["file"]
        assert one["licence"] in PERMITTED
        assert re.fullmatch(r"\d+\.\d+\.\d+", one["version"])


def test_every_vendored_package_has_its_licence_text() -> None:
    """The wheel passes them on, so their texts go with them; Preact is inside htm's file."""
    packages = {one["package"] for one in json.loads((STATIC / "vendor" / "VENDORED.json").read_text())["files"]}
    texts = {path.stem for path in (STATIC / "vendor" / "licences").iterdir()}
    assert texts == packages | {"preact"}


def test_the_wheel_contains_the_page() -> None:
    """Everything below the package goes in, and no ignored name of git, which the build obeys, is a file of it."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert build["packages"] == ["src/worker_vllm"]
    ignored = (ROOT / ".gitignore").read_text().split()
    assert not {f"{path.name}" for path in STATIC.rglob("*") if path.is_file()} & set(ignored)
    assert not {f"{path.name}/" for path in STATIC.rglob("*") if path.is_dir()} & set(ignored)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(STATIC)))
def test_a_script_is_short_and_asks_nobody_else(path: Path) -> None:
    """Under 300 lines, no address outside of this origin but those that are shown to be copied."""
    text = path.read_text()
    assert len(text.splitlines()) < 300
    assert path.read_text().startswith("//"), "a script begins with what it is"
    addresses = set(re.findall(r"https?://[\w.-]+", text)) - {"https://rest.runpod.io"}
    assert addresses == set()


def test_html_is_set_in_one_place() -> None:
    """What a model says becomes HTML only behind the sanitizer."""
    users = [
        path.name
        for path in SCRIPTS
        if re.search(r"innerHTML|dangerouslySetInnerHTML|insertAdjacent", path.read_text())
    ]
    assert users == ["answer.js"]
    assert "purify.sanitize(marked.parse(" in (STATIC / "js" / "playground" / "markdown.js").read_text()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_picture_of_the_documentation_is_there_and_small(name: str) -> None:
    """Under 200 kB, and shown by a page."""
    path = DOCUMENTATION / f"console-{name}.png"
    assert 10_000 < path.stat().st_size < 200_000
    assert any(path.name in page.read_text() for page in (ROOT / "README.md", ROOT / "docs" / "console.md"))
