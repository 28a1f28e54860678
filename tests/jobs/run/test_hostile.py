"""Ten thousand hostile jobs reach no route but the open ones, no other host, and never break the worker."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

from tests.support.core import Core
from worker_vllm.engine.interface import EngineRequest
from worker_vllm.jobs.handler import JobHandler
from worker_vllm.jobs.request.routes import CLOSED_ROUTES, DATA_ROUTES, LORA_ROUTES
from worker_vllm.settings.types import JobSettings, Settings

JOBS = 10_000
OPEN = {route.path for route in DATA_ROUTES}
CLOSED = [
    *(route.path for route in LORA_ROUTES),
    *(
        "/metrics",
        "/health",
        "/ping",
        "/version",
        "/load",
        "/docs",
        "/openapi.json",
        "/server_info",
        "/tokenizer_info",
    ),
    *("/sleep", "/wake_up", "/is_sleeping", "/collective_rpc", "/reset_prefix_cache", "/reset_mm_cache", "/pause"),
    *("/resume", "/abort_requests", "/start_profile", "/stop_profile", "/update_weights", "/scale_elastic_ep"),
    *("/init_weight_transfer_engine", "/fault_tolerance/apply", "/invocations", "/inference/v1/generate"),
    *("/v1/responses/resp_1", "/v1/responses/resp_1/cancel", "/v1/realtime", "/v1/chat/completions/render"),
    *("/echo/exit", ""),
]
HOSTS = ["http://evil.test", "//evil.test", "https://evil.test:1", "@evil.test", "unix:/run/docker.sock:", "\\\\evil"]
KEYS = ["model", "messages", "prompt", "stream", "best_of", "n", "guided_json", "stop", "input", "file", "top_p"]
AFTER = ["/", "?", "#x", "?a=1", "%20", " ", "\r\nX: y", "/..", "/../sleep", "\x00"]
SLASHES = ["//", "/./", "\\", "%2f", "%2F", "/%2e/", "／"]


class Recorder:
    """An engine that records its requests, with one response to all of them."""

    def __init__(self) -> None:
        self.status = 200
        self.headers = {"content-type": "application/json"}
        self.asked: list[EngineRequest] = []

    async def request(self, request: EngineRequest) -> Recorder:
        self.asked.append(request)
        return self

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b'{"tokens":[1]}'

    async def read(self) -> bytes:
        raise AssertionError("read whole, however large it is")

    def close(self) -> None:
        pass


def spelling(dice: random.Random) -> Any:
    """A route as an attacker writes it: another host, dots, doubled or encoded parts, control characters."""
    path = dice.choice([*CLOSED, *OPEN])
    for _ in range(dice.randint(0, 3)):
        ways: list[Callable[[str], str]] = [
            lambda p: dice.choice(HOSTS) + p,
            lambda p: p.replace("/", dice.choice(SLASHES)),
            lambda p: "/v1/models/.." + p,
            lambda p: dice.choice(["/v1/models", "/tokenize"]) + dice.choice(["?", "#", ";", "%00", "\x00"]) + p,
            lambda p: p + dice.choice(AFTER),
            lambda p: quote(p, safe=""),
            dice.choice([str.upper, str.title, str.swapcase]),
            lambda p: dice.choice([" ", "\t", "\ufeff", "\u200b"]) + p,
        ]
        path = dice.choice(ways)(path)
    return dice.choice([path] * 20 + [[path], {"path": path}, 7, True, path.encode().hex()])


def rubbish(dice: random.Random, depth: int = 3) -> Any:
    """Any JSON value, biased towards the names that mean something here."""
    kind = dice.randrange(9 if depth else 6)
    if kind == 6:
        return [rubbish(dice, depth - 1) for _ in range(dice.randint(0, 3))]
    if kind >= 7:
        return {dice.choice([*KEYS, "x"]): rubbish(dice, depth - 1) for _ in range(dice.randint(0, 4))}
    return dice.choice([None, True, False, 0, -1, 1, 1e308, float("nan"), 2**80, "", "a", "\ud800", "🦜" * 3])


def job(dice: random.Random) -> Any:
    """A job whose route or body, or both, are hostile."""
    route = spelling(dice) if dice.random() < 0.7 else dice.choice(sorted(OPEN))
    fields: dict[str, Any] = {dice.choice(["max_batch_size", "method", "prompt", "input"]): rubbish(dice)}
    if dice.random() < 0.2:
        return {
            "input": dice.choice([fields, rubbish(dice), {"prompt": rubbish(dice), "sampling_params": rubbish(dice)}])
        }
    keys = dice.choice([("openai_route", "openai_input"), ("route", "body")])
    return {"input": {keys[0]: route, keys[1]: rubbish(dice), **(fields if dice.random() < 0.3 else {})}}


async def test_hostile_jobs_reach_nothing_and_break_nothing() -> None:
    """Every request to the engine has an open path, spelled as in the list; every failure is a 4xx."""
    dice, engine = random.Random(20260820), Recorder()
    core = Core(JobHandler(engine, Settings(jobs=JobSettings())))
    failed = 0
    for _ in range(JOBS):
        given = job(dice)
        result = await core.run(given["input"])
        if result.error is not None:
            failed += 1
            assert 400 <= result.error.status < 500, (given, result.error)
    assert {request.path for request in engine.asked} <= OPEN
    assert {(request.method, request.path) for request in engine.asked} <= {(r.method, r.path) for r in DATA_ROUTES}
    assert failed > JOBS / 3


async def test_the_error_of_a_closed_route_names_its_variable() -> None:
    """A route that a variable opens names it, a closed data route its reason; other errors list the open routes."""
    core = Core(JobHandler(Recorder(), Settings()))
    for path in CLOSED[:-1]:
        failure = (await core.openai(path, {})).failure
        assert failure["code"] == 404
        closed = f"{path} is not open to jobs: {CLOSED_ROUTES.get(path)}"
        listed = "is closed on this endpoint; " in failure["message"] or "/v1/chat/completions" in failure["message"]
        assert failure["message"] == closed if path in CLOSED_ROUTES else listed


async def test_adapters_are_loaded_at_run_time_only_where_allowed() -> None:
    engine = Recorder()
    core = Core(JobHandler(engine, Settings(jobs=JobSettings(allow_lora_updates=True))))
    result = await core.openai("/v1/load_lora_adapter", {"lora_name": "a", "lora_path": "b"})
    assert result.error is None
    assert [(request.path, request.body) for request in engine.asked] == [
        ("/v1/load_lora_adapter", b'{"lora_name":"a","lora_path":"b"}')
    ]
