"""Workers and the ways of their jobs in a real browser.

A killed worker's job is queued again, a worker's log is searched, it is frozen; a job's webhook fails, then arrives.
"""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.console.browser import keep_picture, tab_to
from tests.console.conftest import OpenPage
from tests.support.processes import running

if TYPE_CHECKING:
    from playwright.sync_api import Browser

GATEWAY = (sys.executable, "-m", "worker_vllm", "gateway", "--port", "0", "--ephemeral")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


def submit_slow_job(origin: str) -> str:
    """A job that runs for about a minute; its id."""
    body = {"input": {"prompt": '[[echo {"tpot_ms": 500}]]' + "word " * 120, "sampling_params": {"max_tokens": 120}}}
    request = urllib.request.Request(
        f"{origin}/v2/local/run", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["id"])


def test_a_killed_workers_job_is_queued_again(open_page: OpenPage, origin: str) -> None:
    """By keyboard: kill, see the badge and the step with its cause, cancel."""
    page = open_page("#/workers")
    page.wait_for_selector('.worker[data-state="idle"]')
    submit_slow_job(origin)
    page.wait_for_selector('.worker[data-state="running"]')
    tab_to(page, "[aria-label^='Kill worker-1:']")
    page.keyboard.press("Enter")
    page.wait_for_selector('.worker:not([data-worker="worker-1"])')  # its replacement
    page.keyboard.press("g")
    page.keyboard.press("j")
    page.wait_for_selector(".job-row .badge.warn")
    page.wait_for_selector("#jobs-grid:focus")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => /queued again\\s*worker worker-1 was lost/.test(document.querySelector('.timeline')?.innerText)"
    )
    page.keyboard.press("c")
    page.wait_for_function("() => document.querySelector('.job-detail .timeline')?.innerText.includes('cancelled')")
    keep_picture(page, "requeued-light")


def test_a_workers_log_start_and_freeze(open_page: OpenPage) -> None:
    """The log by text, the phases with seconds, the state after freeze and thaw."""
    page = open_page("#/workers")
    page.wait_for_selector('.worker[data-state="idle"]')
    tab_to(page, ".worker-head")
    page.keyboard.press("Enter")
    page.wait_for_selector(".log .line")
    page.fill("[aria-label='Search the log']", "engine is ready")
    page.wait_for_function("() => document.querySelectorAll('.log .line').length === 1")
    page.click("#worker-tab-start")
    assert "starting the worker" in page.inner_text(".receipt")
    tab_to(page, "[aria-label^='Freeze worker-1:']")
    page.keyboard.press("Enter")
    page.wait_for_selector('.worker[data-state="frozen"]')
    tab_to(page, "[aria-label^='Thaw worker-1:']")
    page.keyboard.press("Enter")
    page.wait_for_selector('.worker[data-state="idle"]')


def test_a_fault_is_planted_and_happens(open_page: OpenPage) -> None:
    """A status for the next OpenAI request; the playground shows what a client would see."""
    page = open_page("#/workers")
    page.wait_for_selector(".worker-head")
    page.click(".worker-head")
    page.click("#worker-tab-faults")
    page.select_option("[name=route]", "openai")
    page.click("text=Plant it")
    page.wait_for_function("() => document.querySelector('.worker-detail')?.innerText.includes('openai: status 503')")
    page.click("text=Remove all")
    page.wait_for_selector("text=No fault is planted.")


class FailingFirst(BaseHTTPRequestHandler):
    """Answers the first request with 503, later ones with 200."""

    asked = 0

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers["content-length"]))
        type(self).asked += 1
        self.send_response(503 if self.asked == 1 else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def test_an_open_page_shows_each_try_as_it_happens(browser: Browser) -> None:
    """Without a reload: the job was cancelled, its webhook failed, then it was delivered."""
    with running([*GATEWAY, "--set", "webhook_pause_s=0.5"]) as process, receiver() as hook:
        url = process.line("console on ").partition("console on ")[2].rstrip("/")
        page = browser.new_context().new_page()
        page.goto(f"{url}/#/jobs")
        asked = {"input": 1, "webhook": hook}
        job = page.request.post(f"{url}/v2/local/run", data=asked).json()["id"]
        page.goto(f"{url}/#/jobs/local/{job}")
        page.wait_for_selector("ol >> text=queued")
        page.request.post(f"{url}/v2/local/cancel/{job}")
        page.wait_for_selector("ol >> text=503, try 1 of 3")
        page.wait_for_selector("ol li.good >> text=200, try 2 of 3")
        page.context.close()


@contextmanager
def receiver() -> Iterator[str]:
    """The address of a receiver that fails first."""
    with ThreadingHTTPServer(("127.0.0.1", 0), FailingFirst) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            serving.join()
