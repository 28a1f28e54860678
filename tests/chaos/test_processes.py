"""What only worker processes can show: sharing a queue, being frozen, killed, or blocked."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from tests.chaos.client_sync import Endpoint
from tests.chaos.fleet import command_of, descendants
from tests.support.attached import gateway_process, worker_environment, worker_process
from tests.support.engines.recorder import recording
from tests.support.processes import running

ECHO = {"ENGINE": "echo", "MODEL_NAME": "echo", "ECHO_TPOT_MS": "10"}
PLAYER = Path(__file__).resolve().parents[1] / "conformance" / "own_worker.py"

pytestmark = pytest.mark.timeout(120)


def text(number: int) -> str:
    """A prompt of its own for each job."""
    return f"job number {number}"


def native(number: int) -> dict[str, object]:
    """A job that takes a tenth of a second."""
    return {"prompt": text(number), "sampling_params": {"max_tokens": 100}}


def answer(found: dict[str, object]) -> object:
    """The text of a completed native job; what else it is otherwise."""
    output = found.get("output")
    return output[0]["choices"][0]["tokens"] if isinstance(output, list) else found


def test_two_workers_share_a_queue() -> None:
    """100 jobs wait, the engines have 8 slots: neither worker takes more than 60, the first take asks for 8."""
    with ExitStack() as stack:
        recorder = stack.enter_context(recording(stack.enter_context(gateway_process())))
        endpoint = Endpoint(recorder.url)
        job_ids = [endpoint.run(**native(n)) for n in range(100)]
        for worker_id in ("w1", "w2"):
            slow = {"MAX_NUM_SEQS": "8", "ECHO_TPOT_MS": "60"}  # so that who started first does not decide
            environment = {**worker_environment(recorder.url, worker_id), **ECHO, **slow}
            stack.enter_context(worker_process(environment))
        found = [endpoint.end(job_id) for job_id in job_ids]
        assert [answer(job) for job in found] == [[text(n)] for n in range(100)]
        shares = Counter(job["workerId"] for job in found)
        assert max(shares.values()) <= 60, shares
        first_takes = {
            request.worker_id: request.query["batch_size"] for request in reversed(recorder.of("job-take-batch"))
        }
        assert first_takes == {"w1": "8", "w2": "8"}


def test_an_engine_whose_queue_is_full_is_waited_for() -> None:
    """It admits 3 at a time and answers 503 to the others: all 30 jobs get their answer."""
    with gateway_process() as url:
        environment = {**worker_environment(url, "w1"), **ECHO, "MAX_NUM_SEQS": "8", "ECHO_MAX_QUEUED": "3"}
        with worker_process(environment):
            endpoint = Endpoint(url)
            job_ids = [endpoint.run(**native(n)) for n in range(30)]
            found = [endpoint.end(job_id) for job_id in job_ids]
            assert [answer(job) for job in found] == [[text(n)] for n in range(30)]


@pytest.mark.parametrize("frozen_s", [4, pytest.param(60, marks=pytest.mark.matrix)])
def test_a_frozen_worker_thaws(frozen_s: float) -> None:
    """Worker and engine stopped as one, the platform's connections cut meanwhile: the next job is right, nothing is
    relaunched, nothing raises an alarm."""
    with ExitStack() as stack:
        recorder = stack.enter_context(recording(stack.enter_context(gateway_process())))
        endpoint = Endpoint(recorder.url)
        worker = stack.enter_context(worker_process({**worker_environment(recorder.url, "w1"), **ECHO}))
        assert answer(endpoint.end(endpoint.run(**native(1)))) == [text(1)]
        everything = [worker.pid, *descendants(worker.pid)]
        commands = [command_of(pid) for pid in everything]
        for pid in everything:
            os.kill(pid, signal.SIGSTOP)
        recorder.cut()
        time.sleep(frozen_s)  # being frozen takes time
        before = len(worker.output())
        for pid in everything:
            os.kill(pid, signal.SIGCONT)
        assert answer(endpoint.end(endpoint.run(**native(2)))) == [text(2)]
        assert [command_of(pid) for pid in everything] == commands
        for alarm in ("blocked", "stall", "ERROR", "relaunch", "starting"):
            assert alarm not in worker.output()[before:]


def test_a_result_outlives_a_killed_worker(tmp_path: Path) -> None:
    """The platform refuses it, the worker is killed, the next start on the same volume delivers it: run once."""
    with gateway_process("--faults") as url:
        endpoint = Endpoint(url)
        endpoint.faults({"route": "job-done", "status": 500})
        spool = {"SPOOL_DIRECTORY": str(tmp_path / "spool")}
        with worker_process({**worker_environment(url, "w1"), **ECHO, **spool}) as worker:
            job_id = endpoint.run(**native(1))
            while not list(tmp_path.rglob("*.result")):
                time.sleep(0.05)  # a file has no event
            worker.signal(signal.SIGKILL)
            worker.exit_code()
        endpoint.faults()
        with worker_process({**worker_environment(url, "w2"), **ECHO, **spool}):
            found = endpoint.end(job_id)
        assert (found["status"], found["workerId"], answer(found)) == ("COMPLETED", "w1", [text(1)])
    assert list(tmp_path.glob("spool/*")) == []


def test_a_blocked_loop_stops_the_heartbeat() -> None:
    """Five seconds of CPU inside the loop: no ping meanwhile, the log has the stack; afterwards work continues."""
    with ExitStack() as stack:
        recorder = stack.enter_context(recording(stack.enter_context(gateway_process())))
        endpoint = Endpoint(recorder.url)
        player = stack.enter_context(running([sys.executable, str(PLAYER)], worker_environment(recorder.url, "w1")))
        assert endpoint.end(endpoint.run(steps=[{"block_s": 5}, {"say": "a"}]))["output"] == ["a"]
        assert endpoint.end(endpoint.run(steps=[{"pause_s": 2.5}, {"say": "b"}]))["output"] == ["b"]
        times = [request.at for request in recorder.of("ping")]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert max(gaps) >= 4.5
        assert len(gaps) >= 3
        assert "the event loop is blocked" in player.output()
        assert "own_worker.py" in player.output()


def test_a_second_signal_ends_a_drain() -> None:
    """The first waits for the job; the second does not."""
    with gateway_process() as url:
        endpoint = Endpoint(url)
        with worker_process({**worker_environment(url, "w1"), **ECHO, "DRAIN_TIMEOUT": "60"}) as worker:
            endpoint.end(endpoint.run(**native(1)))
            job_id = endpoint.run(prompt="x" * 90, sampling_params={"max_tokens": 10_000, "ignore_eos": True})
            while endpoint.ask(f"/status/{job_id}")["status"] == "IN_QUEUE":
                pass
            worker.signal(signal.SIGTERM)
            time.sleep(0.5)  # two signals at once are one
            worker.signal(signal.SIGTERM)
            assert worker.exit_code(10) == 130
