"""One `worker-vllm local` with the echo engine, one browser, and a new page for each test, watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.console.browser import DESKTOP, Witness, launched, why_skipped
from tests.support.processes import running
from tests.support.stack import LOCAL

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

OpenPage = Callable[..., Any]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need a browser where there is none."""
    if reason := why_skipped():
        for item in items:
            if item.path.parent == Path(__file__).parent and item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser of a module, whose tests are not async: the driver's event loop counts as running."""
    with launched() as found:
        yield found


@pytest.fixture
def origin() -> Iterator[str]:
    """The address of a run of its own."""
    with running([*LOCAL, "--engine", "echo", "--ephemeral", "--faults"]) as process:
        yield process.line("Console: ").partition("Console: ")[2].rstrip("/")


@pytest.fixture
def open_page(browser: Browser, origin: str) -> Iterator[OpenPage]:
    """`open_page(fragment, theme=…, size=…)`: a page of the console.

    Afterwards: no page had an error, and none asked for anything outside of the gateway.
    """
    contexts = []
    witness = Witness()

    def start(fragment: str = "", *, theme: str = "light", size: tuple[int, int] = DESKTOP) -> Page:
        viewport = {"width": size[0], "height": size[1]}
        context = browser.new_context(viewport=viewport, color_scheme=theme)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        witness.watch(page)
        page.goto(f"{origin}/{fragment}")
        page.wait_for_selector("nav.side")
        return page

    yield start
    for context in contexts:
        context.close()
    assert witness.foreign_requests(origin) == []
    assert witness.errors == []
