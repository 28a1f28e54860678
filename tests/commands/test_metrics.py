"""The /metrics of a queue worker, and an address that cannot be bound."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.attached import gateway_process, worker_environment, worker_process
from tests.support.http import Http

pytestmark = pytest.mark.timeout(30)

ECHO = {"ENGINE": "echo", "MODEL_NAME": "echo", "MAX_NUM_SEQS": "8"}


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """A socket that holds a free port of the loopback, which others may listen at only when it is closed."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield held


async def served(gateway: str) -> str:
    """One job's status."""
    async with Http(gateway) as http:
        status: str = (await http.post("/runsync", {"input": {"prompt": "hello"}})).json["status"]
    return status


async def test_a_worker_shows_its_figures_and_the_engines(port: socket.socket) -> None:
    """One valid text: the values of admission and the engine's own counters, each name once."""
    address = f"127.0.0.1:{port.getsockname()[1]}"
    port.close()
    with (
        gateway_process() as gateway,
        worker_process({**worker_environment(gateway, "w1"), **ECHO, "METRICS_ADDRESS": address}),
    ):
        assert await served(gateway) == "COMPLETED"
        with urlopen(f"http://{address}/metrics") as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    names = [family.name for family in families]
    values = {sample.name: sample.value for family in families for sample in family.samples}
    assert len(names) == len(set(names))
    assert (values["worker_jobs_window"], values["worker_jobs_held"], values["vllm:num_requests_running"]) == (
        8,
        0,
        0,
    )
    assert values["worker_job_queue_delay_seconds_count"] == 1  # as the gateway tells it with the job


async def test_a_taken_address_is_an_error_in_the_log_alone(port: socket.socket) -> None:
    """A worker that cannot serve its metrics still serves jobs."""
    address = f"127.0.0.1:{port.getsockname()[1]}"
    with (
        gateway_process() as gateway,
        worker_process({**worker_environment(gateway, "w1"), **ECHO, "METRICS_ADDRESS": address}) as worker,
    ):
        assert await served(gateway) == "COMPLETED"
        assert f"METRICS_ADDRESS={address} cannot be bound" in worker.output()
