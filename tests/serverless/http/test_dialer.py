"""Connections to the platform: dead addresses, TLS, no descriptors left, proxies."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.paths import OWN_WORKER
from tests.support.platforms.raw_platform import raw_platform, worker_variables
from tests.support.processes import running
from worker_vllm.serverless.http.client import HttpPlatform, KeepAliveLimits
from worker_vllm.serverless.http.connection import NotSent
from worker_vllm.serverless.http.dialer import Dialer
from worker_vllm.serverless.http.proxies import ignored_proxy

AddressInfo = tuple[int, int, int, str, tuple[str, int]]


@contextmanager
def silent_address() -> Iterator[tuple[str, int]]:
    """An address that never answers: its queue of connections is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield listening.getsockname()
        for one in waiting:
            one.close()


async def test_the_next_address_is_tried_while_one_does_not_answer() -> None:
    """Its host has another one: no 10 s for the first before the second is tried."""
    with silent_address() as silent:
        async with raw_platform() as raw:
            sound = ("127.0.0.1", int(raw.root.rsplit(":", 1)[1]))

            async def resolve(host: str, port: int) -> Sequence[AddressInfo]:
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in (silent, silent, sound)]

            http = HttpPlatform("key", dialer=Dialer(resolve))
            async with asyncio.timeout(4):
                assert (await http.get("http://platform.example/v2/ep/ping/w1", 2)).status == 200
            http.close()


async def test_a_host_name_that_does_not_exist_is_reported() -> None:
    """Provably nothing was sent."""

    async def resolve(host: str, port: int) -> Sequence[AddressInfo]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(NotSent, match=r"no connection to platform\.example: .*Name or service not known"):
        await HttpPlatform("key", dialer=Dialer(resolve)).get("http://platform.example/ping", 2)


@pytest.mark.parametrize(
    ("trusted", "address", "reason"),
    [
        (True, "127.0.0.1", None),
        (False, "127.0.0.1", "certificate verify failed"),
        (True, "127.0.0.2", "certificate verify failed: IP address mismatch"),
    ],
    ids=["trusted", "untrusted", "of another host"],
)
async def test_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool, address: str, reason: str | None
) -> None:
    """Only whom the machine's authorities vouch for gets the key, and for its own address only."""
    authority = Authority(tmp_path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    http = HttpPlatform("key")
    async with raw_platform(tls=authority.server(address)) as raw:
        if reason is None:
            for _ in range(2):
                assert (await http.post(f"{raw.url}/job-done/w1/a", (b'{"output":1}',), 5)).status == 200
            assert (raw.connections, raw.requests[1].headers["authorization"]) == (1, "key")
        else:
            with pytest.raises(NotSent, match=reason):
                await http.post(f"{raw.url}/job-done/w1/a", (b'{"output":1}',), 5)
            assert raw.requests == []
        http.close()
        await asyncio.sleep(0.05)  # TLS takes its leave


async def test_a_worker_process_serves_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The complete protocol, on the event loop that workers run on."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with raw_platform(tls=authority.server("127.0.0.1")) as raw:
        with running([sys.executable, str(OWN_WORKER)], worker_variables(raw)):
            await raw.give({"id": "a", "input": {"steps": [{"say": "x"}]}})
            await raw.until(lambda: bool(raw.of("job-done")))
            await raw.end()
    assert [request.json for request in raw.of("job-stream")] == [{"output": "x"}]
    assert raw.of("job-done")[0].json == {"output": ["x"]}


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Not one file more can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
    try:
        while True:
            taken.append(os.dup(taken[0]))
    except OSError as error:
        assert error.errno == errno.EMFILE  # noqa: PT017  # it is what was waited for
    try:
        yield
    finally:
        for one in taken:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_out_of_descriptors_means_waiting() -> None:
    """Nothing was sent, so the same request goes out later; a kept connection is looked at and used meanwhile."""
    async with raw_platform() as raw:
        http, other = HttpPlatform("key", KeepAliveLimits(check_after_s=0.0)), HttpPlatform("key")
        await http.post(f"{raw.url}/job-done/w1/a", (b"{}",), 5)
        with no_descriptors():
            assert (await http.post(f"{raw.url}/job-done/w1/a", (b"{}",), 5)).status == 200
            with pytest.raises(NotSent, match="Too many open files"):
                await other.post(f"{raw.url}/job-done/w1/a", (b"{}",), 5)
        assert (await other.post(f"{raw.url}/job-done/w1/a", (b"{}",), 5)).status == 200
        assert raw.connections == 2
        for one in (http, other):
            one.close()


PROXIES = [
    ({}, None),
    ({"HTTPS_PROXY": "http://u:hidden@proxy:3128"}, "HTTPS_PROXY is set and ignored"),
    ({"https_proxy": "http://proxy"}, "https_proxy is set and ignored"),
    ({"ALL_PROXY": "socks5://proxy"}, "ALL_PROXY is set and ignored"),
    ({"HTTP_PROXY": "http://proxy"}, None),
    ({"HTTPS_PROXY": ""}, None),
    ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "other.example, .runpod.ai"}, None),
    ({"HTTPS_PROXY": "http://proxy", "no_proxy": "*"}, None),
    ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "pod.ai"}, "HTTPS_PROXY is set"),
]


@pytest.mark.parametrize(("environment", "warning"), PROXIES)
def test_an_ignored_proxy_is_named(environment: dict[str, str], warning: str | None) -> None:
    """Without its address, which may hold a password."""
    line = ignored_proxy("https://api.runpod.ai/v2/ep/job-take/w1", environment)
    assert (line is None) if warning is None else (line is not None and warning in line and "hidden" not in line)
