"""A queue and a load balancer on the same prompt, both started from the page; and a gateway that requires a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.console.browser import keep_picture
from tests.console.conftest import OpenPage
from tests.support.processes import running
from tests.support.stack import LOCAL

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

KEY = "a-key-of-this-test"


def test_a_queue_and_a_load_balancer_answer_side_by_side(open_page: OpenPage) -> None:
    """Deployed as a load balancer, chosen beside the queue, both with their speed; then stopped."""
    page = open_page("#/deploy")
    page.wait_for_selector("#endpoint-kind")
    page.select_option("#endpoint-kind", "load-balancer")
    page.fill("#endpoint-name", "balanced")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector('.deployment[data-endpoint="balanced"][data-state="ready"]', timeout=60_000)
    page.keyboard.press("Escape")
    page.goto(page.url.partition("#")[0] + "#/playground")
    page.wait_for_selector('#choose-rival option[value="/lb/balanced"]', state="attached")
    page.select_option("#choose-endpoint", "/v2/local/openai")
    page.select_option("#choose-rival", "/lb/balanced")
    page.wait_for_selector("#send:not([disabled])")
    page.fill("#prompt", '[[echo {"tpot_ms": 3}]]The same prompt for both of them.')
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.answer[data-state=done]').length === 2")
    texts = page.eval_on_selector_all(".answer .markdown", "all => all.map((one) => one.textContent.trim())")
    titles = page.eval_on_selector_all(".answer h3", "all => all.map((one) => one.textContent)")
    assert texts == ["The same prompt for both of them."] * 2
    assert titles == ["local", "balanced (load balancer)"]
    assert all("tokens/s" in speed.inner_text() for speed in page.query_selector_all(".speed"))
    keep_picture(page, "compare-light")
    page.goto(page.url.partition("#")[0] + "#/workers")
    page.select_option(".head select", "balanced")
    page.wait_for_selector("[aria-label='The last minutes of balanced']")
    for title in ("Tokens per second: [0-9]", "KV memory in use: [0-9]+ %", "Jobs ended per second: [0-9]"):
        page.wait_for_function(
            "(title) => [...document.querySelectorAll('.plot [role=img]')].some((one) => one.ariaLabel.match(title))",
            arg=title,
        )
    page.goto(page.url.partition("#")[0] + "#/deploy")
    page.click("[aria-label='Stop balanced']")
    page.wait_for_selector('.deployment[data-endpoint="balanced"]', state="detached", timeout=60_000)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """The address of a run that requires a key."""
    key = tmp_path / "key"
    key.write_text(KEY)
    with running([*LOCAL, "--engine", "echo", "--ephemeral", "--api-key-file", str(key)]) as process:
        yield process.line("Console: ").partition("Console: ")[2].rstrip("/")


def test_a_page_asks_for_the_key_and_keeps_it_in_its_tab(browser: Browser, guarded: str) -> None:
    """Without the key it shows nothing; with it, it chats; a reload does not ask again."""
    page = browser.new_context().new_page()
    page.goto(guarded)
    page.wait_for_selector("dialog[open] input[name=key]")
    page.keyboard.type(KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector("#send:not([disabled])")
    page.fill("#prompt", "Hello, parrot!")
    page.keyboard.press("Enter")
    page.wait_for_selector('.answer[data-state="done"]')
    page.reload()
    page.wait_for_selector("#send:not([disabled])")
    assert page.query_selector("dialog[open]") is None
    page.context.close()
