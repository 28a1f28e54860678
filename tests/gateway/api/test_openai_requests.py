"""HTTP details of the OpenAI routes: request ids, content types, byte order marks, binary answers."""

from __future__ import annotations

import asyncio
import base64
import codecs
import json
from typing import Any

import aiohttp
import pytest

from tests.gateway.fake_worker import FakeWorker
from tests.support.http import Answer, Http

CHAT = "/v2/local/openai/v1/chat/completions"
EMBEDDINGS = "/v2/local/openai/v1/embeddings"
JOB = "sync-job1-u1"
JSON = {"Content-Type": "application/json"}


async def post(http: Http, path: str, body: bytes, headers: dict[str, str]) -> Answer:
    """A request with exactly these headers; aiohttp adds no content type of its own."""
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session,
        session.post(http.url + path, data=body, headers=headers) as answer,
    ):
        return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read())


REQUEST_IDS: list[tuple[str, str | None, str]] = [
    ("given", "req-7f3a/e!", "req-7f3a/e!"),
    ("as long as allowed", "x" * 256, "x" * 256),
    ("absent", None, JOB),
    ("empty", "", JOB),
    ("too long", "x" * 257, JOB),
    ("with a space", "a b", JOB),
    ("with a letter outside ASCII", "é", JOB),
]


@pytest.mark.parametrize(("given", "answered"), [row[1:] for row in REQUEST_IDS], ids=[row[0] for row in REQUEST_IDS])
async def test_a_clients_request_id_comes_back(
    http: Http, worker: FakeWorker, given: str | None, answered: str
) -> None:
    """As the client sent it; the job's id takes the place of an absent or invalid one. `x-job-id` is always there."""
    headers = JSON if given is None else {**JSON, "X-Request-Id": given}
    waiting = asyncio.create_task(post(http, CHAT, b"{}", headers))
    assert (await worker.take()).json == {"id": JOB, "delayTime": 0, "retries": 0, "input": CHAT_INPUT}
    await worker.done(JOB, {"output": {}})
    answer = await waiting
    assert (answer.headers["x-request-id"], answer.headers["x-job-id"]) == (answered, JOB)


CHAT_INPUT = {"openai_route": "/v1/chat/completions", "openai_input": {}}


async def test_an_error_carries_the_clients_request_id_too(http: Http) -> None:
    """A refused request has no job, and so no `x-job-id`."""
    answer = await post(http, CHAT, b"{", {**JSON, "X-Request-Id": "mine"})
    assert (answer.status, answer.headers["x-request-id"], "x-job-id" in answer.headers) == (400, "mine", False)


REFUSED_TYPES = [None, "", "text/plain", "application/x-www-form-urlencoded", "application/vnd.api+json", "text/json"]
UNSUPPORTED = {
    "message": "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed",
    "type": "Bad Request",
    "param": None,
    "code": 400,
}


@pytest.mark.parametrize("body", [b"{}", b"{", b""], ids=["JSON", "no JSON", "empty"])
@pytest.mark.parametrize("content_type", REFUSED_TYPES)
async def test_another_content_type_is_refused_as_vllm_refuses_it(
    http: Http, content_type: str | None, body: bytes
) -> None:
    """vLLM 0.32, `validate_json_request` (serve/utils/api_utils.py): same status, same error object, no job."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await post(http, CHAT, body, headers)
    assert (answer.status, answer.json) == (400, {"error": UNSUPPORTED})
    assert (await http.get("/v2/local/health")).json["jobs"]["inQueue"] == 0


@pytest.mark.parametrize("body", [b"", b"{", b"x=1"], ids=["empty", "no JSON", "a form"])
@pytest.mark.parametrize("route", ["/v1/load_lora_adapter", "/v1/no-such-route"])
async def test_a_route_that_may_be_closed_is_asked_of_the_worker_first(
    http: Http, worker: FakeWorker, route: str, body: bytes
) -> None:
    """Its 404 comes before what is wrong with the body, which does not travel."""
    waiting = asyncio.create_task(post(http, f"/v2/local/openai{route}", body, {}))
    job = (await worker.take()).json
    assert job["input"] == {"openai_route": route}
    error = {"message": "closed", "type": "NotFoundError", "param": None, "code": 404}
    await worker.done(job["id"], {"error": json.dumps(error)})
    assert ((await waiting).status, (await waiting).json) == (404, {"error": error})


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
async def test_parameters_and_case_of_the_content_type_do_not_matter(
    http: Http, worker: FakeWorker, content_type: str
) -> None:
    """As in vLLM."""
    waiting = asyncio.create_task(post(http, CHAT, b"{}", {"Content-Type": content_type}))
    await worker.take()
    await worker.done(JOB, {"output": {}})
    assert (await waiting).status == 200


async def test_runpods_own_routes_take_json_of_any_content_type(http: Http) -> None:
    """RunPod's SDK sends its JSON as a form."""
    answer = await post(http, "/v2/local/run", b'{"input": 1}', {"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status, answer.json) == (200, {"id": "job1-u1", "status": "IN_QUEUE"})


async def test_a_byte_order_mark_does_not_reach_the_job(http: Http, worker: FakeWorker) -> None:
    """The engine would take it in front of a body; inside the job's JSON it would make the job invalid."""
    waiting = asyncio.create_task(http.post(CHAT, codecs.BOM_UTF8 + b'{"temperature": 1.0}'))
    job = await worker.take()
    assert b'"openai_input": {"temperature": 1.0}' in job.body
    assert job.json["input"] == {**CHAT_INPUT, "openai_input": {"temperature": 1.0}}
    await worker.done(JOB, {"output": {}})
    assert (await waiting).status == 200


async def test_a_byte_order_mark_before_a_native_job_is_accepted(http: Http, worker: FakeWorker) -> None:
    await http.post("/v2/local/run", codecs.BOM_UTF8 + b'{"input": 1}')
    assert (await worker.take()).json == {"id": "job1-u1", "delayTime": 0, "retries": 0, "input": 1}


RAW = bytes(range(256))
BASE64 = base64.b64encode(RAW).decode()
OCTETS = "application/octet-stream"
METADATA = {"id": "embd-1", "model": "é", "data": [{"index": 0, "start": 0, "end": 256, "shape": [64]}]}
METADATA_HEADER = (
    '{"id": "embd-1", "model": "\\u00e9", "data": [{"index": 0, "start": 0, "end": 256, "shape": [64]}]}'
)
BINARY: list[tuple[str, Any, str | None]] = [
    ("bytes_only", {"content_type": OCTETS, "base64": BASE64}, None),
    ("bytes, with their layout", {"content_type": OCTETS, "base64": BASE64, "metadata": METADATA}, METADATA_HEADER),
]


@pytest.mark.parametrize("as_list", [False, True], ids=["plain", "a generator's"])
@pytest.mark.parametrize(("output", "metadata"), [row[1:] for row in BINARY], ids=[row[0] for row in BINARY])
async def test_a_binary_answer_comes_back_as_bytes(
    http: Http, worker: FakeWorker, output: Any, metadata: str | None, as_list: bool
) -> None:
    """A job holds JSON alone, so the worker reports base64; the client gets what the engine answered."""
    waiting = asyncio.create_task(http.post(EMBEDDINGS, {"input": "a", "encoding_format": "bytes"}))
    await worker.take()
    await worker.done(JOB, {"output": [output] if as_list else output})
    answer = await waiting
    assert (answer.status, answer.body) == (200, RAW)
    assert (answer.headers["content-type"], answer.headers.get("metadata")) == (OCTETS, metadata)


NOT_BINARY: list[tuple[str, Any]] = [
    ("another key beside", {"content_type": OCTETS, "base64": BASE64, "id": 1}),
    ("no base64", {"content_type": OCTETS, "base64": "!"}),
    ("a type that no header can hold", {"content_type": "a/b\r\nx-evil: 1", "base64": BASE64}),
    ("a type that is none", {"content_type": "", "base64": BASE64}),
    ("no text", {"content_type": 7, "base64": BASE64}),
    ("half of it", {"base64": BASE64}),
]


@pytest.mark.parametrize("output", [row[1] for row in NOT_BINARY], ids=[row[0] for row in NOT_BINARY])
async def test_any_other_object_stays_json(http: Http, worker: FakeWorker, output: Any) -> None:
    waiting = asyncio.create_task(http.post(EMBEDDINGS, {}))
    await worker.take()
    await worker.done(JOB, {"output": output})
    answer = await waiting
    assert (answer.status, answer.json) == (200, output)
    assert answer.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("encoded", ["a%2Fb", "a%2fb%20c", "%2F", "x%2Frun%2Fy", "%C3%A9"])
async def test_an_endpoint_name_is_decoded_after_the_path_is_split(http: Http, encoded: str) -> None:
    """A slash inside the name is not a separator."""
    asking = asyncio.create_task(http.get(f"/v2/{encoded}/openai/v1/models"))
    job = await get_raw(http, f"/v2/{encoded}/job-take/w1?gpu=x")
    assert job.json["input"] == {"openai_route": "/v1/models"}
    asking.cancel()


async def get_raw(http: Http, path: str) -> Answer:
    return await http.get(path)
