"""How requests reach this worker: the mode, the platform's URLs, the start timeout."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from worker_vllm.settings.builder import DEFAULT, ENVIRONMENT, SettingsBuilder
from worker_vllm.settings.catalog.catalog import catalog
from worker_vllm.settings.types import EngineKind, Mode, Secret

TAKE, DONE, STREAM, PING = (f"RUNPOD_WEBHOOK_{name}" for name in ("GET_JOB", "POST_OUTPUT", "POST_STREAM", "PING"))
HTTP_FIELDS = {
    "API_KEYS_FILE": "http.api_keys_file",
    "MAX_BODY_BYTES": "http.max_body_bytes",
    "TRANSLATE_HTTP": "http.translate",
    "HEALTH_CHECK_PATH": "http.health_path",
}
ONLY_HTTP = ("API_KEYS_FILE", "MAX_BODY_BYTES", "TRANSLATE_HTTP")  # not the names that platforms set themselves
HEALTH_PATH = re.compile(r"/[\w./-]*", re.ASCII)
ON_THE_PLATFORM = ("RUNPOD_POD_ID", "RUNPOD_ENDPOINT_ID")
START_ELSEWHERE_S = 3600.0
START_RESERVE_S = 20.0  # of the platform's start timeout, left for the worker itself


def choose_mode(draft: SettingsBuilder) -> None:
    """Queue where the platform sets a job URL, http where it sets a port, else local; WORKER_MODE overrides."""
    asked = draft.parsed(catalog()["WORKER_MODE"])
    key = draft.first_set("WORKER_MODE", TAKE, "PORT", "PORT_HEALTH") or "WORKER_MODE"
    source = ENVIRONMENT if key in draft.env else DEFAULT
    if asked is None:
        ported = draft.first_set("PORT", "PORT_HEALTH") is not None
        asked = Mode.QUEUE if TAKE in draft.env else Mode.HTTP if ported else Mode.LOCAL
    draft.set_field("mode", Mode(asked), key, source)


def choose_engine_kind(draft: SettingsBuilder) -> None:
    """vLLM as a child process, the echo engine, or a server that is already running."""
    kind = draft.parsed(catalog()["ENGINE"])
    if kind is not None:
        draft.set_field("engine.kind", EngineKind(kind), "ENGINE")
    url = draft.env.get("ENGINE_URL")
    if url is None:
        return
    if not url.startswith(("http://", "https://", "unix:/")):
        draft.refuse(
            "ENGINE_URL", "http://host:port, https://host:port or unix:/path", "correct the engine's address"
        )
    draft.set_field("engine.url", url, "ENGINE_URL")
    draft.set_field("engine.kind", EngineKind.ATTACH, "ENGINE_URL")


def fill_queue(draft: SettingsBuilder) -> None:
    """The platform's URLs; $ID stays in those that are completed with a job id."""
    worker_id = draft.env.get("RUNPOD_POD_ID", "local")
    if "RUNPOD_POD_ID" in draft.env:
        draft.set_field("queue.worker_id", worker_id, "RUNPOD_POD_ID")
    if key := draft.env.get("RUNPOD_AI_API_KEY"):
        draft.set_field("queue.api_key", Secret(key), "RUNPOD_AI_API_KEY")
    places = {TAKE: "take_url", DONE: "done_url", STREAM: "stream_url", PING: "ping_url"}
    for name, place in places.items():
        if address := _address(draft, name, worker_id):
            draft.set_field(f"queue.{place}", address.replace("$ID", worker_id) if name == TAKE else address, name)
    if draft.fields["mode"].value is Mode.QUEUE:
        for name in (TAKE, DONE):
            if name not in draft.env:
                draft.refuse(name, "the platform's address in queue mode", "set it, or set WORKER_MODE=http or local")


def fill_metrics(draft: SettingsBuilder) -> None:
    """The address of /metrics in queue mode, if one is set."""
    address = draft.env.get("METRICS_ADDRESS")
    if address is None:
        return
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and 1 <= int(port) <= 65535:
        draft.set_field("metrics_address", (host.strip("[]"), int(port)), "METRICS_ADDRESS")
    else:
        draft.refuse("METRICS_ADDRESS", "host:port", "write for example 127.0.0.1:9400")


def fill_http(draft: SettingsBuilder) -> None:
    """Ports and client key of http mode. PORT and API_KEY are common names, so other modes ignore them."""
    if draft.fields["mode"].value is not Mode.HTTP:
        for name in ONLY_HTTP:
            if name in draft.env:
                draft.warn(f"{name} has no effect: it belongs to http mode")
        return
    for name, place in (("PORT", "http.port"), ("PORT_HEALTH", "http.health_port")):
        port = draft.parsed(catalog()[name])
        if port is None:
            continue
        if 1 <= port <= 65535:
            draft.set_field(place, port, name)
        else:
            draft.refuse(name, "a port, 1 to 65535", "write the port that the platform sends requests to")
    if key := draft.first_set("API_KEY", "VLLM_API_KEY"):
        draft.set_field("http.api_key", Secret(draft.env[key]), key)
    for name, place in HTTP_FIELDS.items():
        if (value := draft.parsed(catalog()[name])) is not None:
            draft.set_field(place, value, name)
    path = draft.env.get("HEALTH_CHECK_PATH", "/")
    if not HEALTH_PATH.fullmatch(path):
        draft.refuse("HEALTH_CHECK_PATH", "a path such as /ping", "write a plain path without a query")


def _address(draft: SettingsBuilder, name: str, worker_id: str) -> str | None:
    address = draft.env.get(name)
    if address is None:
        return None
    if not _is_address(address):
        draft.refuse(name, "an http:// or https:// address", "copy it from the platform unchanged")
    card = draft.env.get("RUNPOD_GPU_TYPE_ID", "").replace(" ", "+")
    return address.replace("$RUNPOD_POD_ID", worker_id).replace("$RUNPOD_GPU_TYPE_ID", card)


def _is_address(text: str) -> bool:
    """Whether a text is a URL that a connection can be made to."""
    try:
        parts = urlsplit(text)
        (parts.hostname or "").encode("idna")
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid host or port
        return False


def limit_start(draft: SettingsBuilder) -> None:
    """Let the engine's start time out before the platform stops this worker, unless ENGINE_START_TIMEOUT is set.

    In http mode elsewhere no platform does, and a load balancer sees the phase: a large model may take its time.
    """
    if "engine.start_timeout_s" in draft.fields:
        return
    init_timeout_s = draft.parsed(catalog()["RUNPOD_INIT_TIMEOUT"])
    if init_timeout_s is not None:
        limit = max(init_timeout_s - START_RESERVE_S, init_timeout_s * 0.9)
        draft.set_field("engine.start_timeout_s", limit, "RUNPOD_INIT_TIMEOUT")
    elif draft.fields["mode"].value is Mode.HTTP and draft.first_set(*ON_THE_PLATFORM) is None:
        draft.set_field("engine.start_timeout_s", START_ELSEWHERE_S, "ENGINE_START_TIMEOUT", DEFAULT)
