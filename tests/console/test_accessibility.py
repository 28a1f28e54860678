"""axe-core on every page, in both themes and on a phone: no serious violation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.console.browser import DESKTOP, PHONE, keep_picture
from tests.console.conftest import OpenPage
from tests.support.paths import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

AXE = ROOT / "tests" / "console" / "vendor" / "axe.min.js"
SERIOUS = ("serious", "critical")
PAGES = {"deploy": ".setting", "playground": "#send:not([disabled])", "jobs": ".job-row", "workers": ".plot canvas"}


def violations(page: Any) -> list[str]:
    """One line for each serious violation."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("() => axe.run()")["violations"]
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_has_a_serious_violation(open_page: OpenPage, theme: str, size: tuple[int, int]) -> None:
    """With something on each page: a worker selected, a job open."""
    page = open_page(theme=theme, size=size)
    found = {}
    for name, shown in PAGES.items():
        page.goto(page.url.partition("#")[0] + f"#/{name}")
        page.wait_for_selector(shown, state="attached")
        if name == "jobs":
            page.keyboard.press("Enter")
            page.wait_for_selector(".job-detail .timeline")
        if name == "workers":
            page.click(".worker-head")
            page.wait_for_selector(".log .line")
        page.wait_for_timeout(300)  # transitions of colours have ended
        keep_picture(page, f"{name}-{theme}{'' if size == DESKTOP else '-phone'}")
        found[name] = violations(page)
    page.keyboard.press("Escape")
    page.focus("#main")
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    found["shortcuts"] = violations(page)
    assert found == {key: [] for key in (*PAGES, "shortcuts")}


@pytest.mark.parametrize("name", list(PAGES))
def test_a_phone_scrolls_in_one_direction(open_page: OpenPage, name: str) -> None:
    """No page is wider than the screen."""
    page = open_page(f"#/{name}", size=PHONE)
    page.wait_for_selector(PAGES[name], state="attached")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
