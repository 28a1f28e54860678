"""The served OpenAPI description: complete, and true under schemathesis."""

from __future__ import annotations

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
                assert "content" in answer or status == "204", (path, method, status)
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


@pytest.mark.timeout(300)
def test_schemathesis_finds_no_500_and_no_undocumented_answer(tmp_path: Path) -> None:
    """Valid and invalid requests to every operation of a gateway without workers, whose waits are short."""
    with gateway_process(*QUICK) as url:
        base = url.removesuffix("/v2/local")
        found = subprocess.run(
            [
                *(SCHEMATHESIS, "run", f"{base}/openapi.json", "--seed", "7"),
                *("--max-examples", "20", "--phases", "examples,coverage,fuzzing", "--workers", "1"),
                *("--checks", "not_a_server_error,status_code_conformance,content_type_conformance"),
                "--checks=response_schema_conformance",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
