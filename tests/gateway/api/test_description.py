"""The served OpenAPI description: complete, and true under schemathesis."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import BaseRoute, Mount, Route

from tests.gateway.conftest import Open
from tests.support.attached import gateway_process
from tests.support.http import Http
from tests.support.processes import running
from tests.support.stack import LOCAL
from worker_vllm.console.gateway_console import console_of
from worker_vllm.gateway.api.jobs_api import UNSUPPORTED
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.load_balancing.balanced_endpoints import BalancedEndpoints
from worker_vllm.gateway.options import BalancerOptions, GatewayOptions
from worker_vllm.gateway.server.app import Description, build_app
from worker_vllm.gateway.server.request_routes import describe_requests, recorded_requests
from worker_vllm.local.fleet.fleet_gateway import describe_balanced

SCHEMATHESIS = str(Path(sys.executable).parent / "schemathesis")
REPORTS = tuple(f"/v2/{{endpoint}}/{name}/" for name in ("job-stream", "job-done", "ping"))  # answered without a body
SHORT = ("take_s", "stop_s", "stream_s", "runsync_s", "longest_s", "openai_s", "openai_stream_s")
QUICK = [part for name in SHORT for part in ("--set", f"waits.{name}=0.02")]


# One served route may be described as several; the page and its files are no API, and a WebSocket has no description.
SEVERAL = {
    "/lb": [("/lb/{endpoint}/{path}", "GET"), ("/lb/{endpoint}/{path}", "POST")],
    "/console/api/workers": [("/console/api/workers", "GET")],
    "/console/api/workers/{rest}": [
        ("/console/api/workers/{worker_id}", "GET"),
        ("/console/api/workers/{worker_id}/log", "GET"),
        ("/console/api/workers/{worker_id}/{operation}", "POST"),
    ],
}
NO_API = {"/", "/console/static"}


async def test_every_operation_of_an_endpoint_is_described_and_no_other(http: Http) -> None:
    """By path and method; the OpenAI routes as one path of which the rest is the route."""
    described = {row for row in described_in((await http.get("/openapi.json")).json) if row[0].startswith("/v2")}
    served: set[tuple[str, str]] = set()
    for each in Gateway(GatewayOptions()).operations:
        path = "/openai/v1/{route}" if each.name == "openai" else each.path.replace(":path", "")
        methods = {"openai": "GET POST"}.get(each.name, "POST" if each.path in UNSUPPORTED else each.methods)
        served |= {(f"/v2/{{endpoint}}{path}", method) for method in methods.split()}
    assert described == served


def described_in(document: dict[str, Any]) -> set[tuple[str, str]]:
    """Every described path with its method."""
    return {(path, method.upper()) for path, operations in document["paths"].items() for method in operations}


def routes_of(served: Iterable[BaseRoute], prefix: str = "") -> set[tuple[str, str]]:
    """Every path and method that these routes serve, but for `/v2`."""
    found: set[tuple[str, str]] = set()
    for route in served:
        path = prefix + getattr(route, "path", "").replace(":path", "")
        if path.startswith("/v2") or path in NO_API:
            continue
        if path in SEVERAL:
            found.update(SEVERAL[path])
        elif isinstance(route, Mount):
            assert route.routes, f"{path}: a mount whose routes cannot be seen"
            found |= routes_of(route.routes, path)
        elif isinstance(route, Route):
            found |= {(path, method) for method in (route.methods or ()) if method != "HEAD"}
    return found


async def test_every_route_beside_the_endpoints_is_described_and_no_other() -> None:
    """Of a gateway with everything: load balancing, faults, finished requests, the console."""
    gateway = Gateway(GatewayOptions(faults=True))
    console = console_of(gateway)
    balanced = BalancedEndpoints(BalancerOptions(), lambda: 0.0)
    mounts = [Mount("/lb", app=balanced), *recorded_requests(gateway), *console.mounts]
    described = (describe_balanced, describe_requests, console.describe)
    app = build_app(gateway, mounts=mounts, described=described)
    description = next(one.app for one in app.routes if isinstance(one, Route) and one.path == "/openapi.json")
    assert isinstance(description, Description)
    document = description.document()
    rows = {row for row in described_in(document) if not row[0].startswith("/v2")}
    assert rows == routes_of(app.routes)
    assert ("/console/api/feed", "GET") in rows


async def test_every_answer_has_a_body_that_is_described(http: Http) -> None:
    """No status without a schema, but for those that have no body and the worker's own answers."""
    document = (await http.get("/openapi.json")).json
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert re.fullmatch(r"[\w-]+", operation["operationId"]), operation["operationId"]
            for status, answer in operation["responses"].items():
                assert answer["description"], (path, method, status)
                empty = status == "204" or (status == "200" and path.startswith(REPORTS))
                assert ("content" in answer) is not empty, (path, method, status)
    assert set(document["components"]["schemas"]) >= {"JobStatus", "ErrorAnswer", "EndpointHealth"}


async def test_what_runpod_has_and_this_gateway_has_not_answers_501(http: Http) -> None:
    """With the place where it is listed."""
    for method, path in (
        ("POST", "/batch"),
        ("GET", "/batch/b1/requests"),
        ("PUT", "/batch/b1"),
        ("POST", "/realtime"),
    ):
        answer = await http.request(method, f"/v2/local{path}")
        assert (answer.status, answer.json) == (
            501,
            {
                "error": f"/v2/local{path}: RunPod has this, this gateway has not; "
                'see "What is supported" in docs/gateway.md'
            },
        )


async def test_an_unknown_endpoint_is_not_found(open_gateway: Open) -> None:
    """A typo in the id must not look like an endpoint without workers, unless any id may be one."""
    http = await open_gateway(GatewayOptions())
    for path in ("/v2/lokal/run", "/v2/lokal/openai/v1/chat/completions"):
        answer = await http.post(path, {"input": 1})
        assert answer.status == 404
        words = r"endpoint \"lokal\": got an unknown id, expected local; or start with --any-endpoint"
        assert words in answer.body.decode()
    assert (await (await open_gateway(GatewayOptions(any_endpoint=True))).get("/v2/lokal/health")).status == 200


# So that what is generated reaches the operations, and not only their 404.
CONFIGURATION = """
[parameters]
endpoint = "local"
job_id = "{job_id}"
worker_id = "{worker_id}"
"""
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
BALANCED = "^/lb/|/console/api/workers$|/console/api/workers/\\{worker_id\\}(/log)?$"
# What a run leaves out, and why.
LEFT_OUT = {
    "/batch|/realtime": "501 is a server error too; they have a test of their own",
    "/console/api/feed|/tail$": "streams without end: the request would never be over",
    "^/faults|^/console/api/faults": "a plan makes other operations fail; they have a run of their own",
    "^/lb/": "a gateway without workers has none; they have a run of their own",
}


async def conforms(base: str, folder: Path, *arguments: str) -> None:
    """Run schemathesis against the gateway at `base`; fails with its report."""
    command = [
        *(SCHEMATHESIS, "run", f"{base}/openapi.json", "--seed", "7", "--no-shrink", "--workers", "1"),
        *("--phases", "examples,coverage,fuzzing", "--checks", CHECKS, *arguments),
    ]
    found = await asyncio.to_thread(subprocess.run, command, cwd=folder, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("known", [True, False], ids=["a job that exists", "any ids"])
async def test_schemathesis_finds_no_500_and_no_undocumented_answer(tmp_path: Path, known: bool) -> None:
    """Valid and invalid requests to every operation of a gateway without workers, whose waits are short."""
    with gateway_process(*QUICK) as url:
        base = url.removesuffix("/v2/local")
        async with Http(base) as http:
            job_id = (await http.post("/v2/local/run", {"input": 1})).json["id"]
            await http.get(
                "/v2/local/ping/w1"
            )  # attached, so that drain, kill and freeze are refused: no process here
        if known:
            (tmp_path / "schemathesis.toml").write_text(CONFIGURATION.format(job_id=job_id, worker_id="w1"))
        few = ("--max-examples", "15" if known else "2")
        await conforms(base, tmp_path, *few, "--exclude-path-regex", "|".join(LEFT_OUT))


@pytest.mark.timeout(120)
async def test_schemathesis_finds_nothing_in_the_fault_plan(tmp_path: Path) -> None:
    """Of a gateway whose other operations nobody calls."""
    with gateway_process(*QUICK, "--faults") as url:
        await conforms(
            url.removesuffix("/v2/local"), tmp_path, "--max-examples", "10", "--include-path-regex", "faults"
        )


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "path", ["v1/models", "v1/completions", "v1/messages", ""], ids=lambda path: path or "any path"
)
async def test_schemathesis_finds_nothing_behind_the_load_balancer(tmp_path: Path, path: str) -> None:
    """Of a worker in http mode with the echo engine: the edge's answers, the guard's and the engine's; and its log.

    What drains, kills and freezes a worker is left out: the worker would not be there for the other requests.
    """
    known = CONFIGURATION.format(job_id="any", worker_id="worker-1") + (f'path = "{path}"\n' if path else "")
    (tmp_path / "schemathesis.toml").write_text(known)
    with running([*LOCAL, "--mode", "http", "--engine", "echo", "--ephemeral"]) as process:
        base = process.line("Ready: ").split("Ready: ")[1].strip().removesuffix("/lb/local")
        await conforms(base, tmp_path, "--max-examples", "15", "--include-path-regex", BALANCED)
