"""`worker-vllm local` as a user runs it, with the echo engine: ready, served, ended, and nothing left."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.http import Http
from tests.support.leftovers import gone, left_of
from tests.support.processes import Process, running
from tests.support.stack import LOCAL

ECHO = [*LOCAL, "--engine", "echo"]
QUESTION = {"model": "echo", "messages": [{"role": "user", "content": "Hello, parrot!"}]}
CHAT = "/v2/local/openai/v1/chat/completions"

pytestmark = pytest.mark.timeout(90)


def url(process: Process) -> str:
    return process.line("Ready: ").split("Ready: ")[1].split("/v2/")[0]


async def answer(base: str) -> str:
    """The model's answer to the question."""
    async with Http(base) as http:
        return str((await http.post(CHAT, QUESTION)).json["choices"][0]["message"]["content"])


def workers(process: Process) -> list[int]:
    """The worker processes of a run."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False
    )
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if " start" in line]


async def test_ctrl_c_ends_everything(place: Path) -> None:
    """Exit 0; no process, no socket, no temporary file."""
    with running([*ECHO, "--workers", "2"], {"TMPDIR": str(place)}) as process:
        assert await answer(url(process)) == "Hello, parrot!"
        assert left_of(place)
        process.signal(signal.SIGINT)
        assert await asyncio.to_thread(process.exit_code) == 0
    await gone(place)


async def test_ctrl_c_ends_everything_after_standard_output_was_closed(place: Path) -> None:
    """As after `worker-vllm local | head`: a closed standard output must not prevent the end."""
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(place)}
    process = subprocess.Popen(ECHO, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    with process:
        assert process.stdout is not None
        while b"Ctrl-C" not in await asyncio.to_thread(process.stdout.readline):
            assert process.poll() is None
        process.stdout.close()
        process.send_signal(signal.SIGINT)
        try:
            assert await asyncio.to_thread(process.wait, 20) == 0
        finally:
            process.kill()
    await gone(place)


async def test_the_snippets_work_as_pasted(place: Path) -> None:
    """The curl line here; the five lines of Python where the openai package is."""
    with running(ECHO, {"TMPDIR": str(place)}) as process:
        process.line("Ctrl-C stops everything.")
        printed = process.output().splitlines()
        line = next(line for line in printed if line.strip().startswith("curl "))
        curled = await asyncio.to_thread(subprocess.run, shlex.split(line), capture_output=True, text=True)
        assert '"content":"Hello, parrot!"' in curled.stdout
        first = next(n for n, line in enumerate(printed) if "import OpenAI" in line)
        code = "\n".join(line[2:] for line in printed[first : first + 5])
        ran = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True)
        assert (ran.stdout, ran.returncode) == ("Hello, parrot!\n", 0), ran.stderr


async def test_a_worker_that_dies_is_replaced(place: Path) -> None:
    """The restart is reported, its jobs run elsewhere, and the new one serves."""
    with running(ECHO, {"TMPDIR": str(place)}) as process:
        base = url(process)
        (worker,) = workers(process)
        os.kill(worker, signal.SIGKILL)
        await asyncio.to_thread(process.line, "worker-1 ended with status -9; starting another")
        assert await answer(base) == "Hello, parrot!"
        assert workers(process) != [worker]


async def test_a_frozen_worker_loses_its_jobs_to_another(place: Path) -> None:
    """Through /faults: STOP, and the job that it was given is answered all the same; CONT, and all is well."""
    arguments = [*ECHO, "--workers", "2", "--faults", "--set", "fleet.least_silence_s=1"]
    with running(arguments, {"TMPDIR": str(place)}) as process:
        base = url(process)
        async with Http(base) as http:
            while len((await http.get("/v2/local/metrics")).json["readyWorkers"]) < 2:
                await asyncio.sleep(0.05)
            frozen = (await http.get("/v2/local/metrics")).json["readyWorkers"][0]
            assert (await http.post(f"/faults/workers/{frozen}", {"signal": "STOP"})).status == 200
            answers = await asyncio.gather(*(answer(base) for _ in range(4)))
            assert answers == ["Hello, parrot!"] * 4
            assert (await http.post(f"/faults/workers/{frozen}", {"signal": "CONT"})).status == 200
            while len((await http.get("/v2/local/metrics")).json["readyWorkers"]) < 2:
                await asyncio.sleep(0.05)
        assert await answer(base) == "Hello, parrot!"


async def test_kill_9_of_the_gateway_leaves_nothing(place: Path) -> None:
    """The workers end with it, and their engines with them."""
    with running(ECHO, {"TMPDIR": str(place)}) as process:
        url(process)
        process.signal(signal.SIGKILL)
        await asyncio.to_thread(process.exit_code)
        await gone(place)


def test_a_port_in_use_is_an_error(place: Path) -> None:
    """Before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with running([*ECHO, "--port", port], {"TMPDIR": str(place)}) as process:
            assert process.exit_code() == 1
        message = f"worker-vllm local: cannot listen on 127.0.0.1:{port}: "
        assert process.output().startswith(message)
        assert process.output().endswith("choose another --port")


PROBLEMS: list[tuple[str, list[str], dict[str, str], str]] = [
    (
        "a path",
        ["--model", "/no/such"],
        {},
        r'worker-vllm local: --model="/no/such": expected a path that exists; .*',
    ),
    ("a setting", [], {"MAX_MODEL_LEN": "8k tokens"}, r'worker-vllm local: MAX_MODEL_LEN="8k tokens": expected .*'),
    (
        "no hub",
        ["--engine", "vllm", "--model", "org/name"],
        {"HF_ENDPOINT": "http://127.0.0.1:9"},
        r"worker-vllm local: org/name could not be fetched from http://127.0.0.1:9: .* \(are you offline\?\); .*",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "environment", "message"), [row[1:] for row in PROBLEMS], ids=[row[0] for row in PROBLEMS]
)
def test_what_cannot_work_is_one_line(
    place: Path, arguments: list[str], environment: dict[str, str], message: str
) -> None:
    """What is wrong and what to do, once; nothing was started for it."""
    with running([*LOCAL, *arguments], {"TMPDIR": str(place), "BASE_PATH": str(place), **environment}) as process:
        assert process.exit_code(60) == 1
        assert re.fullmatch(message, process.output())
    assert left_of(place) == []


STARTS: list[tuple[str, str, str, str]] = [
    ("a flag", "error: unrecognized arguments: --zip", "2", "this engine has no option --zip; correct "),
    ("anything", "boom happened", "1", "the engine did not start "),
]


@pytest.mark.parametrize(("words", "code", "message"), [row[1:] for row in STARTS], ids=[row[0] for row in STARTS])
def test_an_engine_that_cannot_start_is_reported_once(place: Path, words: str, code: str, message: str) -> None:
    """By the last line; a second worker would meet the same, so there is none."""
    failing = {"ECHO_START_LOG": words, "ECHO_START_EXIT": code}
    with running(ECHO, {"TMPDIR": str(place), **failing}) as process:
        assert process.exit_code(60) == 1
    output = process.output()
    assert output.splitlines()[-1].startswith(f"worker-vllm local: {message}")
    assert (output.count(message), output.count("starting another")) == (1, 0)


NUMBERS = [("--port", "99999"), ("--port", "-1"), ("--port", "http"), ("--workers", "0"), ("--model", "")]


@pytest.mark.parametrize(("argument", "value"), NUMBERS)
def test_arguments_are_checked_by_the_parser(place: Path, argument: str, value: str) -> None:
    """Status 2 and what was expected."""
    with running([*ECHO, argument, value], {"TMPDIR": str(place)}) as process:
        assert process.exit_code() == 2
    last = process.output().splitlines()[-1]
    assert last.startswith(f"worker-vllm local: error: argument {argument}: ")
    assert "expected" in last


async def test_a_worker_that_asks_to_be_replaced_is_replaced_as_often_as_it_likes(place: Path) -> None:
    """RECYCLE_AFTER_JOBS; only deaths count against the budget of three restarts."""
    with running(ECHO, {"TMPDIR": str(place), "RECYCLE_AFTER_JOBS": "1"}) as process:
        base = url(process)
        for _ in range(5):
            assert await answer(base) == "Hello, parrot!"
        await asyncio.to_thread(process.line, "worker-1-5 ended with status 0; starting another")
