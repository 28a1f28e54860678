"""Chromium for tests of the console: found or named as missing, its requests and errors recorded, pictures kept."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PICTURES = ROOT / ".cache" / "console-pictures"  # kept by every run
# These stand in the documentation too; UPDATE_PICTURES=1 takes them anew.
DOCUMENTED = ("playground-dark", "failed-job-light")
DOCUMENTATION = ROOT / "docs" / "images"
DESKTOP = (1280, 800)
PHONE = (390, 780)


def chromium() -> str | None:
    """The path of the browser; CHROMIUM names one that is installed elsewhere."""
    named = os.environ.get("CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


def why_skipped() -> str:
    """Why there can be no browser test here, empty where there can."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed: `make setup` installs it"
    if chromium() is None:
        return "no Chromium: install it (apt-get install chromium), or set CHROMIUM=/its/path"
    return ""


@dataclass(slots=True)
class Witness:
    """What a page did that nobody looks at: the addresses that it asked for, and its errors."""

    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Record from now on."""
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", note(self.errors))

    def foreign_requests(self, origin: str) -> list[str]:
        """The addresses outside of this origin."""
        return [url for url in self.requests if not url.startswith((f"{origin}/", "data:"))]


def note(errors: list[str]) -> Callable[[ConsoleMessage], None]:
    """A listener that keeps the errors and warnings of a page's script, refusals by its policy among them."""

    def listen(message: ConsoleMessage) -> None:
        api = any(part in message.location["url"] for part in ("/v2/", "/lb/", "/console/api/"))
        refused = api and message.text.startswith("Failed to load resource: the server responded with a status of")
        if message.type in ("error", "warning") and not refused:  # the page shows the refusal's sentence itself
            errors.append(message.text)

    return listen


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser for the length of the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def keep_picture(page: Page, name: str) -> Path:
    """Keep a picture of what is in view."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    path = PICTURES / f"console-{name}.png"
    page.screenshot(path=path, animations="disabled", caret="hide")
    if name in DOCUMENTED and os.environ.get("UPDATE_PICTURES"):
        shutil.copy(path, DOCUMENTATION / path.name)
    return path


def tab_to(page: Page, selector: str, most: int = 60) -> None:
    """Press Tab until the focus is on the element; fails when it does not get there."""
    for _ in range(most):
        if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    focused = page.evaluate("() => document.activeElement?.outerHTML.slice(0, 200)")
    raise AssertionError(f"{most} presses of Tab did not reach {selector}; the focus is on {focused}")
