"""The echo engine as an ASGI application: vLLM's routes, its error JSON, its metrics' names."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from worker_vllm import __version__
from worker_vllm.echo import tokens as vocabulary
from worker_vllm.echo.control import Control
from worker_vllm.echo.generation import Generation
from worker_vllm.echo.http_messages import (
    EchoRequest,
    Receive,
    Reply,
    Send,
    error_body,
    read_request,
    run_until_disconnect,
)
from worker_vllm.echo.metrics import OPENMETRICS, PLAIN, exposition
from worker_vllm.echo.routes import body as fields
from worker_vllm.echo.routes import pooling, requests
from worker_vllm.echo.routes.answer import Dialect
from worker_vllm.echo.routes.respond import respond
from worker_vllm.echo.runner import Runner
from worker_vllm.echo.scheduler import Scheduler
from worker_vllm.echo.script import Script
from worker_vllm.echo.usage import report_usage
from worker_vllm.errors import WorkerError

VLLM_VERSION = "0.32.0"  # the version whose routes and formats are implemented here
Reader = Callable[[Mapping[str, Any], requests.Context], tuple[Dialect, Generation]]
GENERATIONS: Mapping[str, Reader] = {
    "/v1/chat/completions": requests.chat,
    "/v1/completions": requests.completion,
    "/v1/messages": requests.messages,
    "/v1/responses": requests.responses,
}
POOLING = ("/v1/embeddings", "/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank")
OTHERS = ("/tokenize", "/detokenize", "/v1/messages/count_tokens")
READ_ONLY = ("/health", "/ping", "/v1/models", "/version", "/load", "/metrics")


@dataclass(frozen=True, slots=True)
class Options:
    """The echo engine's configuration; with the defaults it answers without delay."""

    names: tuple[str, ...] = ("echo",)
    limits: fields.EngineLimits = field(default_factory=fields.EngineLimits)
    max_num_seqs: int = 256
    max_queued: int | None = None  # most unfinished requests, as vLLM's max_num_queued_reqs
    step_ms: float = 0.0
    kv_tokens: int = 1_000_000
    script: Script = field(default_factory=Script)
    report_usage: bool = False  # to the worker, in this process's output


class EchoApp:
    """ASGI 3 application. One instance is one engine, with its own scheduler and counters."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.scheduler = Scheduler(
            options.max_num_seqs, options.max_queued, options.step_ms / 1000, options.kv_tokens
        )
        self.runner = Runner(self.scheduler)
        if options.report_usage:
            self.runner.report = report_usage
        self.control = Control(self.runner, options.script)
        self.started = int(time.time())

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one HTTP request, or the lifespan events."""
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        request = await read_request(scope, receive)
        await run_until_disconnect(self._serve(request, Reply(send)), receive)

    async def _serve(self, request: EchoRequest, reply: Reply) -> None:
        try:
            await self._route(request, reply)
        except WorkerError as error:
            await reply.json({"error": error.error}, error.status)

    async def _route(self, request: EchoRequest, reply: Reply) -> None:
        path, method = request.path, request.method
        if path.startswith("/echo/"):
            await self.control.serve(request, reply)
            return
        posts = path in GENERATIONS or path in POOLING or path in OTHERS
        if not posts and path not in READ_ONLY:
            await reply.json(error_body(404, "Not Found"), 404)
        elif method != ("POST" if posts else "GET"):
            await reply.json(error_body(405, "Method Not Allowed"), 405)
        elif posts:
            self.control.record(request)
            await self._post(request, reply)
        else:
            await self._get(request, reply)

    async def _get(self, request: EchoRequest, reply: Reply) -> None:
        path = request.path
        if path in ("/health", "/ping"):
            await reply.respond(self.control.health, b"")
        elif path == "/v1/models":
            await reply.json({"object": "list", "data": [self._card(name) for name in self.options.names]})
        elif path == "/version":
            await reply.json({"version": VLLM_VERSION, "echo": __version__})
        elif path == "/load":
            await reply.json({"server_load": self.scheduler.running + self.scheduler.waiting})
        else:
            openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
            text = exposition(self.scheduler, self.options.names[0], openmetrics=openmetrics)
            await reply.respond(200, text.encode(), ((b"content-type", OPENMETRICS if openmetrics else PLAIN),))

    def _card(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": self.started,
            "owned_by": "vllm",
            "root": self.options.names[0],
            "parent": None,
            "max_model_len": self.options.limits.max_model_len,
            "permission": [],
        }

    async def _post(self, request: EchoRequest, reply: Reply) -> None:
        body, path = request.json(), request.path
        answer_id = request.headers.get("x-request-id") or uuid.uuid4().hex
        if path in GENERATIONS:
            options = self.options
            script = self.control.take_script()
            context = requests.Context(options.names, options.limits, script, answer_id, int(time.time()))
            dialect, generation = GENERATIONS[path](body, context)
            generation = replace(generation, request_id=answer_id)
            await respond(reply, dialect, generation, self.runner, bool(body.get("stream")))
        elif path in POOLING:
            answer = self._pool(path, body, f"embd-{answer_id}")
            if path.endswith("embeddings") and str(body.get("encoding_format")).startswith("bytes"):
                content, headers = pooling.as_bytes(answer, str(body["encoding_format"]))
                await reply.respond(200, content, headers)
            else:
                await reply.json(answer)
        else:
            await reply.json(self._tokens(path, body))

    def _pool(self, path: str, body: Mapping[str, Any], answer_id: str) -> dict[str, Any]:
        name = fields.check_model(body, self.options.names)
        if path.endswith("embeddings"):
            return pooling.embeddings(body, name, answer_id, int(time.time()))
        if path.endswith("score"):
            return pooling.score(body, name, answer_id, int(time.time()))
        return pooling.rerank(body, name, answer_id.replace("embd", "rerank"))

    def _tokens(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        fields.check_model(body, self.options.names)
        if path == "/detokenize":
            return {"prompt": vocabulary.decode(fields.token_ids(body, "tokens"), markers=True)}
        if path == "/v1/messages/count_tokens":
            count = len(requests.messages_prompt(body))
            return {"input_tokens": count, "context_management": {"original_input_tokens": count}}
        if "messages" in body:
            generation_prompt = body.get("add_generation_prompt") is not False
            found = vocabulary.render(fields.messages(body), generation_prompt=generation_prompt)
        elif isinstance(body.get("prompt"), str):
            found = vocabulary.encode(body["prompt"])
        else:
            raise fields.invalid("prompt", "Input should be a valid string")
        words = (
            [vocabulary.decode([token], markers=True) for token in found] if body.get("return_token_strs") else None
        )
        return {
            "count": len(found),
            "max_model_len": self.options.limits.max_model_len,
            "tokens": found,
            "token_strs": words,
        }
