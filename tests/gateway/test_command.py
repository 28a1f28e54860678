"""`worker-vllm gateway` as a process."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.gateway.fake_worker import FakeWorker
from tests.support.http import Http
from tests.support.processes import running
from worker_vllm.gateway.server.server import CannotListen, listen

COMMAND = [sys.executable, "-m", "worker_vllm", "gateway", "--port", "0"]

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    """Exit 0, what it holds answered first; the key comes from a file."""
    key = tmp_path / "key"
    key.write_text("k3y\n")
    with running([*COMMAND, "--api-key-file", str(key), "--set", "waits.take_s=50"]) as process:
        url = process.line("gateway on ").removeprefix("gateway on ").removesuffix("/v2/local")
        async with Http(url, {"Authorization": "k3y"}) as http:
            held = asyncio.create_task(FakeWorker(http).take())
            while (await http.get("/v2/local/health")).json["workers"]["ready"] != 1:
                await asyncio.sleep(0)
            process.signal(number)
            assert (await held).status == 204
        assert await asyncio.to_thread(process.exit_code) == 0


REFUSED = [
    (["--set", "x=1"], 'worker-vllm gateway: --set x=1: unknown option "x"; the nearest is '),
    (
        ["--api-key-file", "/nonexistent"],
        "worker-vllm gateway: --api-key-file /nonexistent: No such file or directory",
    ),
    (
        ["--api-key-file", sys.executable],
        f"worker-vllm gateway: --api-key-file {sys.executable}: got bytes that are no text, expected one line",
    ),
    (
        ["--host", "192.0.2.1", "--api-key-file", __file__],
        f"worker-vllm gateway: --api-key-file {__file__}: the key is not valid in a header, expected one line",
    ),
    (["--set", "waits.take_s=nan"], "worker-vllm gateway: --set waits.take_s=nan: expected a number from 0"),
]
HOSTS = ["192.0.2.1", "nowhere.invalid", "a..b", "x" * 70, "::1%none", "127.0.0.1\tx"]


@pytest.mark.parametrize("host", HOSTS)
def test_an_unusable_host_has_an_error_of_its_own(host: str) -> None:
    """Another port would not help; no traceback, whatever the name is."""
    with pytest.raises(CannotListen, match=r"cannot listen on .*; --host takes an address of this machine"):
        listen(host, 0)


@pytest.mark.parametrize(
    ("arguments", "words"), REFUSED, ids=["option", "key file", "no text", "no key", "no number"]
)
def test_arguments_that_cannot_work_end_it_with_the_reason(arguments: list[str], words: str) -> None:
    """Exit 1, one line."""
    with running([*COMMAND, *arguments]) as process:
        assert process.exit_code() == 1
        assert process.output().startswith(words)
        assert len(process.output().splitlines()) == 1
