"""The served OpenAPI description: complete, and true under schemathesis."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.conftest import Open
from tests.support.attached import gateway_process
from tests.support.http import Http
from worker_vllm.gateway.api.jobs_api import UNSUPPORTED
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.options import GatewayOptions

SCHEMATHESIS = str(Path(sys.executable).parent / "schemathesis")
REPORTS = tuple(f"/v2/{{endpoint}}/{name}/" for name in ("job-stream", "job-done", "ping"))  # answered without a body
SHORT = ("take_s", "stop_s", "stream_s", "runsync_s", "longest_s", "openai_s", "openai_stream_s")
QUICK = [part for name in SHORT for part in ("--set", f"waits.{name}=0.02")]


async def test_every_route_is_described_and_no_other(http: Http) -> None:
    """By path and method; the OpenAI routes as one path of which the rest is the route."""
    paths = (await http.get("/openapi.json")).json["paths"]
    described = {(path, method.upper()) for path, operations in paths.items() for method in operations}
    served: set[tuple[str, str]] = set()
    for each in Gateway(GatewayOptions()).operations:
        path = "/openai/v1/{route}" if each.name == "openai" else each.path.replace(":path", "")
        methods = {"openai": "GET POST"}.get(each.name, "POST" if each.path in UNSUPPORTED else each.methods)
        served |= {(f"/v2/{{endpoint}}{path}", method) for method in methods.split()}
    assert described == served


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
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("known", [True, False], ids=["a job that exists", "any ids"])
async def test_schemathesis_finds_no_500_and_no_undocumented_answer(tmp_path: Path, known: bool) -> None:
    """Valid and invalid requests to every operation of a gateway without workers, whose waits are short."""
    with gateway_process(*QUICK) as url:
        base = url.removesuffix("/v2/local")
        async with Http(base) as http:
            job_id = (await http.post("/v2/local/run", {"input": 1})).json["id"]
        if known:
            (tmp_path / "schemathesis.toml").write_text(CONFIGURATION.format(job_id=job_id))
        command = [
            *(SCHEMATHESIS, "run", f"{base}/openapi.json", "--seed", "7", "--no-shrink", "--workers", "1"),
            *("--max-examples", "15" if known else "2", "--phases", "examples,coverage,fuzzing"),
            *("--exclude-path-regex", "/batch|/realtime"),  # 501 is a server error too; they have a test of their own
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ]
        found = await asyncio.to_thread(
            subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
