"""The ping that reports a fault: its wire form, which is the SDK's, and that it never does harm."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.serverless.memory_platform import SETTINGS
from tests.support.paths import SDK_PYTHON
from worker_vllm import __version__
from worker_vllm.serverless.http.client import HttpPlatform
from worker_vllm.serverless.intake.fault_report import report_fault, report_wedged
from worker_vllm.serverless.protocol import Addresses
from worker_vllm.settings.types import QueueSettings, Secret

REASON = "the disk is full: 50% é & more " * 20
SDK_REPORT = """
import json, sys
from runpod.serverless.modules.rp_fitness import _report_unhealthy
_report_unhealthy("disk full", json.loads(sys.argv[1]))
"""


@contextmanager
def pinged() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A platform that records the target and the key of each GET; its ping address."""
    seen: list[tuple[str, str | None]] = []

    class Recording(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Recording) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v2/ep/ping/$RUNPOD_POD_ID?gpu=none", seen
        finally:
            server.shutdown()
            thread.join()


def settings(ping_url: str | None) -> QueueSettings:
    """A worker's addresses."""
    url = None if ping_url is None else ping_url.replace("$RUNPOD_POD_ID", "w1")
    return replace(SETTINGS, ping_url=url, api_key=Secret("key"))


def words(target: str) -> list[tuple[str, str]]:
    """The path and the decoded query, in order; the version is each worker's own."""
    found = urlsplit(target)
    query = [(name, "…" if name == "runpod_version" else text) for name, text in parse_qsl(found.query)]
    return [("path", found.path), *query]


async def test_the_report_names_the_check_and_the_reason_in_256_characters() -> None:
    """Status, check, reason and version behind the query of the ping address, with the platform's key."""
    with pinged() as (url, seen):
        where = settings(url)
        platform = HttpPlatform("key")
        await report_fault(platform, Addresses.of(where), "disk full", REASON)
        platform.close()
    query = parse_qsl(urlsplit(seen[0][0]).query)
    version = ("runpod_version", __version__)
    reported = [("gpu", "none"), ("status", "unhealthy"), ("check", "disk full"), ("reason", REASON[:256]), version]
    assert (query, seen[0][1]) == (reported, "key")


def test_a_blocked_worker_reports_from_a_thread() -> None:
    """Without the event loop; the same words."""
    with pinged() as (url, seen):
        report_wedged(settings(url), REASON)
    reported = [("path", "/v2/ep/ping/w1"), ("gpu", "none"), ("status", "unhealthy"), ("check", "event loop")]
    assert words(seen[0][0]) == [*reported, ("reason", REASON[:256]), ("runpod_version", "…")]
    assert seen[0][1] == "key"


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:9/ping/w1?", "no address"])
async def test_a_platform_that_cannot_be_reached_changes_nothing(url: str | None) -> None:
    """No address, nobody there, a broken address: nothing is raised."""
    platform = HttpPlatform("key")
    await report_fault(platform, Addresses.of(settings(url)), "disk full", "reason")
    report_wedged(settings(url), "reason")
    platform.close()


@pytest.mark.sdk
@pytest.mark.timeout(60)
@pytest.mark.skipif(not SDK_PYTHON.exists(), reason="the SDK's environment is not there: make setup-sdk")
async def test_the_official_sdk_writes_the_same() -> None:
    """Its own report of the same fault: path, parameters, their order and their values."""
    with pinged() as (url, seen):
        environment = {"RUNPOD_WEBHOOK_PING": url, "RUNPOD_AI_API_KEY": "key", "RUNPOD_POD_ID": "w1"}
        command: list[str] = [str(SDK_PYTHON), "-c", SDK_REPORT, json.dumps(REASON)]
        subprocess.run(command, env=environment, check=True, timeout=50, capture_output=True)
        platform = HttpPlatform("key")
        await report_fault(platform, Addresses.of(settings(url)), "disk full", REASON)
        platform.close()
    official, own = seen
    assert words(own[0]) == words(official[0])
    assert own[1] == official[1] == "key"
