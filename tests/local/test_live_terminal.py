"""The terminal of `worker-vllm local`: keys and colours on a real one, plain lines in a pipe, the same over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.http import Http
from tests.support.processes import INHERITED, running
from tests.support.stack import LOCAL

PROGRAM = (sys.executable, "-m", "worker_vllm")
ECHO = [*LOCAL, "--engine", "echo"]
CHAT = "/v2/local/openai/v1/chat/completions"
WAIT_S = 60.0

pytestmark = pytest.mark.timeout(120)


def question(model: str = "echo", **fields: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello, parrot!"}], **fields}


class Terminal:
    """A process in a pseudo terminal of its own: what it shows, and keys for it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.fd, inner = pty.openpty()
        self.before = termios.tcgetattr(self.fd)
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}

        def adopt() -> None:
            fcntl.ioctl(inner, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={**inherited, "TERM": "xterm-256color", **environment},
            start_new_session=True,
            preexec_fn=adopt,  # noqa: PLW1509  # one system call: the terminal becomes the controlling one
        )
        os.close(inner)
        self.shown = ""

    def press(self, key: str) -> None:
        os.write(self.fd, key.encode())

    def wait_for(self, part: str) -> str:
        """Everything shown up to this text, once it is there after what an earlier call has returned."""
        deadline = time.monotonic() + WAIT_S
        while part not in self.shown:
            assert time.monotonic() < deadline, f"not shown: {part!r}\n{self.shown}"
            if select.select([self.fd], [], [], 0.5)[0]:
                try:
                    self.shown += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:  # the process has ended
                    assert part in self.shown, f"ended without {part!r}\n{self.shown}"
        found, self.shown = self.shown.split(part, 1)
        return found + part


@contextlib.contextmanager
def terminal(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Terminal]:
    opened = Terminal(command, environment)
    try:
        yield opened
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(opened.process.pid, signal.SIGKILL)
        opened.process.wait(20)
        os.close(opened.fd)


async def ask(base: str, path: str, body: object) -> int:
    async with Http(base) as http:
        return (await http.post(path, body)).status


async def test_a_terminal_shows_requests_and_obeys_keys(tmp_path: Path) -> None:
    """Colours, j, w, l, c, o; Ctrl-C restores the terminal and ends everything with 0."""
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    with terminal(ECHO, {"TMPDIR": str(tmp_path), "BROWSER": f"{browser} %s"}) as screen:
        wait_for = screen.wait_for
        ready = await asyncio.to_thread(wait_for, "keys: j jobs")
        base = re.search(r"Ready: (http://[\d.:]+)/v2/local", ready)
        assert base is not None
        assert re.search(r"worker-vllm \S+ · echo engine · model echo · 1 worker\r\n", ready)
        assert await ask(base[1], CHAT, question()) == 200
        line = await asyncio.to_thread(wait_for, "-u1")
        assert f"\x1b[32m200\x1b[0m  {CHAT.removeprefix('/v2/local/openai')}  worker-1  wait " in line
        assert await ask(base[1], CHAT, question("nope")) == 404
        assert "\x1b[31m404\x1b[0m" in await asyncio.to_thread(wait_for, "The model `nope` does not exist")
        screen.press("j")
        await asyncio.to_thread(wait_for, "the last 2 requests:")
        await asyncio.to_thread(wait_for, "The model `nope` does not exist")
        screen.press("w")
        workers = await asyncio.to_thread(wait_for, "  process ")
        assert re.search(r"worker-1  (idle|initializing.*)  0 jobs  process $", workers)
        screen.press("l")
        await asyncio.to_thread(wait_for, "worker-1: ")
        screen.press("c")
        await asyncio.to_thread(wait_for, "\x1b]52;c;")
        await asyncio.to_thread(wait_for, f"\x07curl {base[1]}{CHAT} ")
        screen.press("o")
        await asyncio.to_thread(wait_for, f"{base[1]}/\r\n")
        while not opened.exists():
            await asyncio.sleep(0.05)
        assert opened.read_text().strip() == f"{base[1]}/"
        screen.press("\x03")
        await asyncio.to_thread(wait_for, "stopping; press Ctrl-C again to force")
        assert await asyncio.to_thread(screen.process.wait, WAIT_S) == 0
        assert termios.tcgetattr(screen.fd)[:6] == screen.before[:6]


async def test_in_a_pipe_there_are_plain_lines_and_the_verbs_show_the_same(tmp_path: Path) -> None:
    """No escape sequence, no keys; `jobs` prints the lines of the terminal, `logs` those of the workers."""
    with running(ECHO, {"TMPDIR": str(tmp_path)}) as process:
        base = process.line("Ready: ").split("Ready: ")[1].split("/v2/")[0]
        await asyncio.to_thread(process.line, "worker-vllm ")
        assert await ask(base, CHAT, question(stream=True, stream_options={"include_usage": True})) == 200
        assert await ask(base, CHAT, question("nope")) == 404
        assert await ask(base, "/v2/local/runsync", {"input": {"prompt": "a b"}}) == 200
        await asyncio.to_thread(process.line, "  native  worker-1  ")
        printed = process.output()
        assert "\x1b" not in printed
        assert "keys:" not in printed
        rows = [line for line in printed.splitlines() if re.match(r"\d\d:\d\d:\d\d  |          The model", line)]
        jobs = await asyncio.to_thread(verb, "jobs", "--url", base)
        assert (jobs.returncode, jobs.stdout.splitlines()) == (0, rows)
        assert len(rows) == 4
        assert re.search(r"  200  /v1/chat/completions  worker-1  .*  \d+ → \d+ tokens  [\d.]+/s  sync-", rows[0])
        last = await asyncio.to_thread(verb, "jobs", "--url", f"{base}/v2/local", "--last", "1", "--json")
        assert json.loads(last.stdout)["route"] == "native"
        logs = await asyncio.to_thread(verb, "logs", "worker-1", "--url", base)
        assert logs.returncode == 0
        assert all(line.startswith("worker-1  ") for line in logs.stdout.splitlines())
        assert "the engine is ready" in logs.stdout
        unknown = await asyncio.to_thread(verb, "logs", "worker-9", "--url", base)
        assert (unknown.returncode, unknown.stderr) == (
            1,
            'worker-vllm logs: worker "worker-9": not known; known are worker-1\n',
        )


def verb(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One verb of the command line, ended."""
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=60)


async def test_ctrl_c_says_how_many_jobs_it_waits_for(tmp_path: Path) -> None:
    """Those that run."""
    slow = {"TMPDIR": str(tmp_path), "ECHO_TPOT_MS": "20000", "DRAIN_TIMEOUT": "1"}
    with running(ECHO, slow) as process:
        base = process.line("Ready: ").split("Ready: ")[1].split("/v2/")[0]
        async with Http(base) as http:
            for _ in range(2):
                await http.post("/v2/local/run", {"input": {"prompt": "one two three"}})
            while (await http.get("/v2/local/health")).json["jobs"]["inProgress"] < 2:
                await asyncio.sleep(0.05)
        process.signal(signal.SIGINT)
        await asyncio.to_thread(process.line, "stopping: waits for 2 running jobs; press Ctrl-C again to force")
        assert await asyncio.to_thread(process.exit_code, WAIT_S) == 0


@pytest.mark.parametrize("name", ["jobs", "logs"])
def test_without_a_gateway_the_verbs_say_so(name: str) -> None:
    """Status 1 and what to do."""
    done = verb(name, "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert re.fullmatch(
        rf"worker-vllm {name}: http://127\.0\.0\.1:9/console/api/\w+: no gateway answers \(.*\); "
        "start one, or name it with --url\n",
        done.stderr,
    )
