"""The playground in a real browser, by keyboard: streaming, stop, branches, failures with their sentence."""

from __future__ import annotations

import json

import pytest

from tests.console.browser import keep_picture
from tests.console.conftest import OpenPage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

SLOW = '[[echo {"tpot_ms": 25}]]'


def ready(page: object) -> None:
    """Wait until a message can be sent, and put the focus where it is written."""
    page.wait_for_selector("#send:not([disabled])")  # type: ignore[attr-defined]
    page.keyboard.press("/")  # type: ignore[attr-defined]


def test_an_answer_streams_and_stops(open_page: OpenPage) -> None:
    """Enter sends, the text grows, Escape stops; the job is cancelled, and its page says so."""
    page = open_page()
    ready(page)
    page.keyboard.type(SLOW + "one two three four five six seven eight nine ten " * 8)
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => document.querySelector('.answer .markdown, .answer .plain')?.textContent.length > 20"
    )
    assert page.get_attribute(".answer", "data-state") == "running"
    assert "first token" in page.inner_text(".speed")
    assert "tokens/s" in page.inner_text(".speed")
    page.keyboard.press("Escape")
    page.wait_for_selector('.answer[data-state="stopped"]')
    assert "stopped by you" in page.inner_text(".answer")
    page.click(".speed a")
    page.wait_for_function("() => document.querySelector('.job-detail')?.textContent.includes('cancelled')")


def test_regenerate_and_edit_make_branches(open_page: OpenPage) -> None:
    """`r` asks again, `e` edits; the old branches stay, and arrows lead back to them."""
    page = open_page()
    ready(page)
    page.keyboard.type("Hello, parrot!")
    page.keyboard.press("Enter")
    page.wait_for_selector('.answer[data-state="done"]')
    page.focus("#main")
    page.keyboard.press("r")
    page.wait_for_function(
        "() => document.querySelector('.message.assistant .branches')?.textContent.includes('2/2')"
    )
    page.wait_for_selector('.answer[data-state="done"]')
    page.focus("#main")
    page.keyboard.press("e")
    page.wait_for_selector(".message.user textarea:focus")
    page.keyboard.press("Control+a")
    page.keyboard.type("Good bye!")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('.answer .markdown')?.textContent.includes('Good bye!')")
    page.click(".message.user [aria-label='Previous branch']")
    page.wait_for_function(
        "() => document.querySelector('.answer .markdown')?.textContent.includes('Hello, parrot!')"
    )


def test_a_failed_request_shows_its_sentence_here_and_at_its_job(open_page: OpenPage) -> None:
    """The engine's words, what the status means, and a retry by key."""
    page = open_page()
    ready(page)
    page.keyboard.type('[[echo {"status": 400, "message": "parrots do not read this"}]]hello')
    page.keyboard.press("Enter")
    page.wait_for_selector('.answer[data-state="failed"]')
    assert "parrots do not read this" in page.inner_text(".answer .banner")
    page.keyboard.press("Escape")
    page.focus("#main")
    page.keyboard.press("g")
    page.keyboard.press("j")
    page.wait_for_selector("#jobs-grid:focus")
    page.wait_for_selector('.job-row:has-text("parrots do not read this")')
    page.keyboard.press("Enter")
    page.wait_for_selector(".job-detail .failure")
    shown = page.inner_text(".job-detail .failure")
    assert "parrots do not read this" in shown
    assert "The request itself was refused" in shown
    keep_picture(page, "failed-job-light")
    page.keyboard.press("r")
    page.wait_for_function("() => document.querySelector('.toast')?.textContent.includes('Queued again')")


def test_markup_in_an_answer_is_inert(open_page: OpenPage) -> None:
    """Scripts, handlers and foreign images of a model's answer are removed; a prompt is plain text."""
    page = open_page()
    ready(page)
    page.keyboard.type(
        "![x](https://example.com/y) <img src=https://example.com/x onerror=alert(1)><script>alert(2)</script>"
        "**bold** [a](javascript:alert(3))"
    )
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer[data-state=done] .markdown strong")
    assert page.query_selector_all(".transcript img, .transcript script, .transcript a[href^='javascript']") == []
    assert "<script>" in page.inner_text(".message.user .plain")


def test_the_request_as_code(open_page: OpenPage) -> None:
    """curl, Python, JavaScript and a native job hold what was asked."""
    page = open_page()
    ready(page)
    page.keyboard.type('It\'s a "quote"')
    page.keyboard.press("Enter")
    page.wait_for_selector('.answer[data-state="done"]')
    page.click("text=Copy as code")
    texts = []
    for name in ("curl", "python", "javascript", "native"):
        page.click(f"#snippets-tab-{name}")
        texts.append(page.inner_text("#snippets-panel pre"))
    assert "'\\''" in texts[0]
    assert "/v2/local/openai/v1/chat/completions" in texts[0]
    assert "client.chat.completions.create(" in texts[1]
    assert "stream=True" in texts[1]
    assert "for await" in texts[2]
    assert "/v2/local/runsync" in texts[3]
    assert "sampling_params" in texts[3]


REPLY = """**Every message is a job.** It waits in the queue, a worker takes it, and its tokens come back in pieces:

- see it under *Jobs*, with its timeline
- stop it, edit it, ask again: each becomes a branch

```python
client = OpenAI(base_url="http://127.0.0.1:8000/v2/local/openai/v1", api_key="none")
```"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_other_parameters_travel_with_the_request(open_page: OpenPage, theme: str) -> None:
    """A reply with reasoning is asked of the echo engine; its picture stands in the documentation."""
    page = open_page(theme=theme)
    ready(page)
    page.click(".params details summary")
    script = {"echo": {"tpot_ms": 2, "merge": 2, "text": REPLY, "reasoning": "The user asks what happens here."}}
    page.fill("label:has-text('Other parameters') textarea", json.dumps(script))
    page.click(".params details summary")
    page.fill("label:has-text('Max tokens') input", "1000")
    page.fill("#prompt", "What happens to what I write?")
    page.keyboard.press("Enter")
    page.wait_for_selector('.answer[data-state="done"]')
    page.wait_for_selector(".answer .markdown pre")
    assert "The user asks what happens here." in page.text_content(".reasoning")
    keep_picture(page, f"playground-{theme}")
