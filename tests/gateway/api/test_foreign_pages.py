"""Requests that a web page of another site can make a browser send: a gateway without a key refuses them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.gateway.conftest import Open
from tests.support.http import Http
from worker_vllm.gateway.options import GatewayOptions, WaitTimeouts

TAKE = "/v2/local/job-take/w1?gpu=x"
HOSTS: list[tuple[str, tuple[str, ...], int]] = [
    ("localhost", (), 200),
    ("LOCALHOST.:8000", (), 200),
    ("127.0.0.1:8000", (), 200),
    ("127.9.9.9", (), 200),
    ("[::1]:8000", (), 200),
    ("evil.example", (), 403),
    ("evil.example:8000", (), 403),
    ("localhost.evil.example", (), 403),
    ("127.0.0.1.evil.example", (), 403),
    ("192.0.2.7:8000", (), 403),
    ("gateway:8000", ("gateway",), 200),
    ("192.0.2.7:8000", ("192.0.2.7",), 200),
    ("192.0.2.7:8000", ("0.0.0.0",), 200),
    ("[2001:db8::7]", ("::",), 200),
    ("evil.example", ("0.0.0.0", "::"), 403),
]


@pytest.mark.parametrize(("host", "allowed", "status"), HOSTS)
async def test_a_name_that_was_made_to_point_here_is_refused(
    open_gateway: Open, host: str, allowed: tuple[str, ...], status: int
) -> None:
    """DNS rebinding: the page and the gateway have the same origin, and only the Host header differs."""
    http = await open_gateway(GatewayOptions(allowed_hosts=allowed))
    async with (
        Http(http.url, {"Host": host}) as page,
        Http(http.url, {"Host": host, "Origin": f"http://{host}"}) as own,
    ):
        for client in (page, own):
            assert (await client.get("/v2/local/health")).status == status
            assert (await client.post("/v2/local/run", {"input": 1})).status == status
    assert (await http.get("/v2/local/health")).json["jobs"]["inQueue"] == (2 if status == 200 else 0)


async def test_the_refusal_of_a_name_states_how_to_allow_it(open_gateway: Open) -> None:
    """With the option to set."""
    http = await open_gateway()
    async with Http(http.url, {"Host": "box.lan:8000"}) as client:
        shown = (await client.get("/v2/local/health")).json["error"]
    assert shown == (
        'this gateway is not known as "box.lan": use localhost or 127.0.0.1, '
        "allow the name with --set allowed_hosts=box.lan, or require a key"
    )


async def test_a_key_makes_any_name_good(open_gateway: Open) -> None:
    """No page knows it; tunnels and containers give the gateway names of their own."""
    http = await open_gateway(key="k3y")
    async with Http(http.url, {"Host": "tunnel.example", "Authorization": "k3y"}) as client:
        assert (await client.get("/v2/local/health")).status == 200


PAGES: list[tuple[str, dict[str, str], int]] = [
    ("an image on a page of another site", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
    ("a link from another site", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
    ("a script of another site", {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403),
    ("a sandboxed frame", {"Sec-Fetch-Site": "cross-site", "Origin": "null"}, 403),
    ("an origin that is none", {"Origin": "http://[::1"}, 403),
    ("a page of this machine", {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:3000"}, 200),
    ("the address bar", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, 200),
    ("a worker", {}, 200),
]


@pytest.mark.parametrize(("headers", "status"), [row[1:] for row in PAGES], ids=[row[0] for row in PAGES])
async def test_a_get_from_another_site_takes_no_job(open_gateway: Open, headers: dict[str, str], status: int) -> None:
    """Images and links send no Origin, and need no permission to read the answer: the job would be gone."""
    http = await open_gateway(GatewayOptions(waits=WaitTimeouts(take_s=0.05)))
    await http.post("/v2/local/run", {"input": 1})
    async with Http(http.url, headers) as page:
        assert (await page.get(TAKE)).status == status
        assert (await page.get("/v2/local/ping/w9?gpu=x")).status == status
    shown = (await http.get("/v2/local/health")).json
    assert shown["jobs"]["inQueue"] == (0 if status == 200 else 1)


METHODS: list[tuple[str, str, str]] = [
    ("GET", "/v2/local/run", "POST"),
    ("PUT", "/v2/local/status/x", "GET, POST"),
    ("POST", "/v2/local/health", "GET"),
    ("POST", TAKE, "GET"),
    ("GET", "/v2/local/job-done/w1/x?gpu=x", "POST"),
    ("PUT", "/faults", "DELETE, GET, HEAD, POST"),
    ("GET", "/v2/local/openai/v1/chat/completions", "POST"),
    ("DELETE", "/v2/local/openai/v1/completions", "POST"),
    ("POST", "/v2/local/openai/v1/models", "GET"),
    ("HEAD", "/v2/local/openai/v1/models", "GET"),
    ("PUT", "/v2/local/openai/v1/something/new", "GET, POST"),
]


@pytest.mark.parametrize(("method", "path", "allow"), METHODS)
async def test_a_wrong_method_is_answered_with_the_allowed_ones(
    open_gateway: Open, method: str, path: str, allow: str
) -> None:
    """405 with the Allow header; no job comes of it."""
    http = await open_gateway(GatewayOptions(faults=True))
    async with http.open(method, path) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, allow)
        shown: Any = await answer.json() if method != "HEAD" else None
    if "/openai/" in path and shown is not None:
        assert shown["error"] == {**shown["error"], "type": "MethodNotAllowedError", "param": None, "code": 405}
    assert (await http.get("/v2/local/health")).json["jobs"]["inQueue"] == 0


@pytest.mark.parametrize("name", ["openai", "openai-x", "my-openai", "v2"])
async def test_an_endpoint_may_have_any_name(open_gateway: Open, name: str) -> None:
    """The route is what comes after the operation, and errors are worded by the operation, not by the name."""
    http = await open_gateway()
    asking = asyncio.create_task(http.get(f"/v2/{name}/openai/v1/models"))
    job = (await http.get(f"/v2/{name}/job-take/w1?gpu=x")).json
    assert job["input"] == {"openai_route": "/v1/models"}
    await http.post(f"/v2/{name}/job-done/w1/{job['id']}?gpu=x", {"output": {"data": []}})
    assert (await asking).json == {"data": []}
    assert (await http.post(f"/v2/{name}/run", b"{")).json["error"].startswith("the body is not JSON")
    assert (await http.post(f"/v2/{name}/openai/v1/completions", b"{")).json["error"]["code"] == 400
