"""What the page weighs, when it first shows something, and how smoothly 5,000 jobs scroll."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.console.browser import DESKTOP, PICTURES, keep_picture
from tests.support.http import Http
from tests.support.processes import running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

GATEWAY = (sys.executable, "-m", "worker_vllm", "gateway", "--port", "0", "--ephemeral")
JOBS = 5_000
HEAVIEST_KB = 250
SLOWEST_PAINT_MS = 1_500
VISITS = 4
FRAME_MS = 1000 / 60
# Scrolls half a screen in each frame, faster than a wheel does, and returns the time from each frame to the next.
SCROLL = """() => new Promise((resolve) => {
  const box = document.querySelector('.jobs-scroll');
  const times = [];
  let last = performance.now();
  const step = (now) => {
    times.push(now - last);
    last = now;
    box.scrollTop += box.clientHeight / 2;
    if (times.length < 120) requestAnimationFrame(step); else resolve(times.slice(1));
  };
  requestAnimationFrame(step);
})"""


@pytest.fixture
def gateway() -> Iterator[str]:
    """The address of a gateway without workers."""
    with running(GATEWAY) as process:
        yield process.line("console on ").partition("console on ")[2].rstrip("/")


def tell(name: str, figures: dict[str, float]) -> None:
    """Keep the figures beside the pictures, and print them."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / f"{name}.json").write_text(json.dumps(figures, indent=2))
    print(name, figures)  # noqa: T201


def main_thread_s(session: CDPSession) -> dict[str, float]:
    """Seconds of CPU time that the page's main thread has spent: in all, in scripts, in styles and layout."""
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    layout = metrics["RecalcStyleDuration"] + metrics["LayoutDuration"]
    return {"task": metrics["TaskDuration"], "script": metrics["ScriptDuration"], "layout": layout}


async def submit(url: str, count: int) -> None:
    """Submit so many jobs, a few at a time."""
    async with Http(url) as http:
        room = asyncio.Semaphore(16)

        async def one(number: int) -> None:
            async with room:
                body = {"input": {"prompt": f"question q-{number}-q of many"}}
                assert (await http.post("/v2/local/run", body)).status == 200

        await asyncio.gather(*(one(number) for number in range(count)))


def test_five_thousand_jobs_scroll_smoothly(browser: Browser, gateway: str) -> None:
    """A frame costs the page's thread less than a frame of a 60 Hz screen lasts; only the rows in view exist."""
    with ThreadPoolExecutor(1) as apart:  # the driver's event loop counts as running in this thread
        apart.submit(asyncio.run, submit(gateway, JOBS)).result()
    page = browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]}).new_page()
    page.goto(f"{gateway}/#/jobs")
    page.wait_for_selector("text=5,000 of 5,000", timeout=30_000)
    work = page.context.new_cdp_session(page)
    work.send("Performance.enable", {"timeDomain": "threadTicks"})  # CPU time: what else the machine does is left out
    before = main_thread_s(work)
    frames = page.evaluate(SCROLL)
    spent = {name: (total - before[name]) * 1000 / len(frames) for name, total in main_thread_s(work).items()}
    rows = len(page.query_selector_all(".job-row"))
    figures = {"jobs": JOBS, "rows": rows, "median_ms": statistics.median(frames), "p95_ms": sorted(frames)[112]}
    figures |= {f"{name} ms a frame": value for name, value in spent.items()}
    tell("frames", figures)
    keep_picture(page, "many-jobs-light")
    page.fill("#job-search", "q-4999-q")
    page.wait_for_selector("text=1 of 5,000")
    page.context.close()
    assert rows < 60
    assert figures["task ms a frame"] <= FRAME_MS


def test_the_page_is_light_and_shows_something_soon(browser: Browser, gateway: str) -> None:
    """All that the first page loads, and the time to its first paint: the best of a few first visits."""
    visits = [first_visit(browser, gateway) for _ in range(VISITS)]
    paint, sizes = min(visits)
    tell("weight", {"files": len(sizes), "kB": sum(sizes) / 1000, "first_paint_ms": paint})
    assert sum(sizes) < HEAVIEST_KB * 1000
    assert paint < SLOWEST_PAINT_MS


def first_visit(browser: Browser, gateway: str) -> tuple[float, list[int]]:
    """The time to the first paint in milliseconds, and the sizes of what was loaded, with an empty cache."""
    page = browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]}).new_page()
    page.goto(gateway)
    page.wait_for_selector(".head")
    paint = page.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0].startTime")
    sizes = page.evaluate(
        "() => performance.getEntries().filter((one) => one.encodedBodySize).map((one) => one.encodedBodySize)"
    )
    page.context.close()
    return paint, sizes
