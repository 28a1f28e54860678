"""Access control: the key, and web pages."""

from __future__ import annotations

import os
from pathlib import Path

import aiohttp
import pytest

from tests.gateway.conftest import Open
from tests.support.http import Http
from worker_vllm.commands.gateway import read_key
from worker_vllm.errors import WorkerError
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.server.server import CannotListen, listen

HEALTH = "/v2/local/health"
KEYS = [("s3cret", 200), ("Bearer s3cret", 200), ("Bearer other", 401), ("s3cre", 401), ("", 401)]


@pytest.mark.parametrize(("given", "status"), KEYS)
@pytest.mark.parametrize("path", [HEALTH, "/v2/local/ping/w1?gpu=x", "/faults"])
async def test_the_key_is_required_bare_or_as_bearer(open_gateway: Open, path: str, given: str, status: int) -> None:
    """Of clients, of workers (who send it bare) and of the fault routes."""
    http = await open_gateway(GatewayOptions(faults=True), key="s3cret")
    async with Http(http.url, {"Authorization": given} if given else {}) as client:
        answer = await client.get(path)
    assert answer.status == status
    if status == 401:
        assert answer.json == {"error": "the Authorization header does not contain this gateway's key"}


ORIGINS = [
    ("http://localhost:3000", 200),
    ("http://127.0.0.1:8000", 200),
    ("https://console.example", 200),
    ("https://elsewhere.example", 403),
    ("null", 403),
]


@pytest.mark.parametrize(("origin", "status"), ORIGINS)
async def test_pages_from_elsewhere_cannot_drive_a_gateway(open_gateway: Open, origin: str, status: int) -> None:
    """A browser sends the page's origin; only pages of this machine and the allowed ones pass."""
    http = await open_gateway(GatewayOptions(allowed_origins=("https://console.example",)))
    async with Http(http.url, {"Origin": origin}) as page:
        answer = await page.post("/v2/local/run", {"input": 1})
        asked = await page.request("OPTIONS", "/v2/local/run")
    assert answer.status == status
    assert asked.status == (204 if status == 200 else 403)
    assert answer.headers.get("access-control-allow-origin") == (origin if status == 200 else None)


async def test_a_preflight_needs_no_key(open_gateway: Open) -> None:
    """Browsers never send one with it."""
    http = await open_gateway(key="s3cret")
    async with aiohttp.ClientSession() as session:
        url = f"{http.url}/v2/local/run"
        async with session.options(url, headers={"Origin": "http://localhost:1"}) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Headers"]) == (204, "*, authorization")


def test_the_key_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    """The file wins; an empty or missing one is an error, not a gateway without a key."""
    path = tmp_path / "key"
    path.write_text("from-file\n")
    assert read_key(path, {"GATEWAY_API_KEY": "from-env"}) == "from-file"
    assert read_key(None, {"GATEWAY_API_KEY": "from-env"}) == "from-env"
    assert read_key(None, {}) == ""
    path.write_text("\n")
    with pytest.raises(WorkerError, match="the file is empty"):
        read_key(path, {})
    with pytest.raises(WorkerError, match=os.strerror(2)):
        read_key(tmp_path / "none", {})


def test_a_port_in_use_is_an_error() -> None:
    """With the address and what to do."""
    first = listen("127.0.0.1", 0)
    port = first.getsockname()[1]
    with pytest.raises(CannotListen, match=rf"cannot listen on 127.0.0.1:{port}: .*; choose another --port"):
        listen("127.0.0.1", port)
    first.close()
