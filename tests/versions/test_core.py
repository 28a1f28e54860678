"""What every supported vLLM must do below the worker; `make test-versions` runs this with each one's interpreter."""

from __future__ import annotations

import sys

import pytest

from tests.support.http import Http
from tests.support.processes import running
from tests.support.stack import LOCAL
from worker_vllm.engine.preflight.vllm_version import engine_version
from worker_vllm.jobs.request.routes import CLOSED_ROUTES, DATA_ROUTES, LORA_ROUTES, TOKENIZER_INFO

pytestmark = [pytest.mark.vllm, pytest.mark.matrix]

MESSAGE = "Polly wants 3 crackers"
# Routes that run the engine or look at it: never open to a client.
OPERATING = frozenset(
    {
        *("/abort_requests", "/collective_rpc", "/docs", "/docs/oauth2-redirect", "/fault_tolerance/apply"),
        *("/fault_tolerance/status", "/finish_weight_update", "/get_world_size", "/health", "/ping", "/load"),
        *(
            "/init_weight_transfer_engine",
            "/is_paused",
            "/is_scaling_elastic_ep",
            "/is_sleeping",
            "/kv_event_sources",
        ),
        *("/metrics", "/openapi.json", "/pause", "/redoc", "/release_kv_cache_memory", "/reset_encoder_cache"),
        *("/reset_mm_cache", "/reset_prefix_cache", "/resume", "/scale_elastic_ep", "/server_info"),
        *("/shutdown_weight_transfer_engine", "/sleep", "/start_draft_weight_update", "/start_profile"),
        *("/start_weight_update", "/stop_profile", "/update_weight_version", "/update_weights", "/version"),
        *("/wake_up", "/weight_checker", "/weight_info"),
    }
)


def test_the_worker_starts_this_engine_and_serves() -> None:
    """`worker-vllm local` starts the engine with the settings of its version, and answers."""
    import asyncio

    async def ask(url: str) -> object:
        body = {"messages": [{"role": "user", "content": MESSAGE}], "max_tokens": 64, "temperature": 0}
        async with Http(url) as http:
            return (await http.post("/openai/v1/chat/completions", body)).json["choices"][0]["message"]["content"]

    with running(LOCAL) as process:
        url = process.line("Ready: ", 300).split("Ready: ")[1].strip()
        assert asyncio.run(ask(url)) == MESSAGE


async def test_every_route_of_this_engine_is_decided(real_engine: str) -> None:
    """Each is open to clients, closed with a reason, or one that runs the engine."""
    async with Http(real_engine) as http:
        version = (await http.get("/version")).json["version"].split("+")[0]
        paths = set((await http.get("/openapi.json")).json["paths"])
    assert version == engine_version(sys.path)
    opened = {route.path for route in (*DATA_ROUTES, *LORA_ROUTES, TOKENIZER_INFO)}
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models"} <= paths
    assert paths - opened - set(CLOSED_ROUTES) - OPERATING == set()
