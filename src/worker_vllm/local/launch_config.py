"""The model and the environment of each worker of `worker-vllm local`. Reads what files and free ports there are."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from worker_vllm.errors import RequestError
from worker_vllm.gateway.options import FleetPolicy, GatewayOptions

ENDPOINT = "local"
PACKAGED_PARROT = Path(__file__).resolve().parent.parent / "_parrot"
CHECKOUT_PARROT = Path(__file__).resolve().parents[3] / "models" / "parrot"

PING_INTERVAL_MS = 1000  # the shortest that RunPod's SDK accepts
# RunPod's behaviour when an OpenAI client disconnects is unknown; locally, Ctrl-C of a client means cancel.
PLATFORM = GatewayOptions(fleet=FleetPolicy(ping_interval_s=PING_INTERVAL_MS / 1000), cancel_on_disconnect=True)

# Settings for a quick start on a small CPU and a quick Ctrl-C; the caller's environment overrides them.
DEFAULTS = {"FAST_START": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "DRAIN_TIMEOUT": "5", "LOG_LEVEL": "INFO"}


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """The command-line arguments; `key` is empty when the gateway requires none."""

    engine: str = "vllm"
    model: str | None = None
    workers: tuple[int, int] = (1, 1)  # at least, at most
    key: str = ""
    verbose: bool = False  # print all log lines of workers and engines
    mode: str = "queue"  # or "http": workers behind the load balancer


def embedded_model() -> Path:
    """The directory of the embedded model. Raises RequestError when this installation has none."""
    for place in (PACKAGED_PARROT, CHECKOUT_PARROT):
        if (place / "config.json").is_file():
            return place
    raise RequestError("the embedded model is not in this installation: name one with --model PATH_OR_ID")


def model_environment(config: LocalConfig, env: Mapping[str, str]) -> dict[str, str]:
    """The variables that select the engine and its model; a path is served under its last part."""
    chosen = {"ENGINE": config.engine}
    if env.get("ENGINE_URL"):
        return {}
    model = config.model or env.get("MODEL_NAME") or ("echo" if config.engine == "echo" else str(embedded_model()))
    chosen["MODEL_NAME"] = model
    if Path(model).is_dir() and not env.get("OPENAI_SERVED_MODEL_NAME_OVERRIDE"):
        chosen["MODEL_NAME"] = str(Path(model).resolve())
        chosen["OPENAI_SERVED_MODEL_NAME_OVERRIDE"] = Path(model).resolve().name.removeprefix("_")
    return chosen


def worker_environment(
    config: LocalConfig, env: Mapping[str, str], gateway_url: str, worker_id: str
) -> dict[str, str]:
    """The complete environment of a worker of the queue."""
    return {
        **base_environment(config, env),
        **queue_variables(f"{gateway_url}/v2/{ENDPOINT}", worker_id, config.key),
    }


def base_environment(config: LocalConfig, env: Mapping[str, str]) -> dict[str, str]:
    """What every worker gets, whichever endpoint it serves: the caller's environment, the engine and its model."""
    return {
        **DEFAULTS,
        **without_platform(env),
        **model_environment(config, env),
        "LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
    }


def without_platform(env: Mapping[str, str]) -> dict[str, str]:
    """The variables without those that say where a worker serves, and without the gateway's key."""
    return {
        name: value
        for name, value in env.items()
        if not name.startswith("RUNPOD_") and name not in ("GATEWAY_API_KEY", "PORT", "PORT_HEALTH")
    }


def queue_variables(endpoint_url: str, worker_id: str, key: str) -> dict[str, str]:
    """RunPod's variables of a worker of a queue; the worker replaces `$ID`, as on RunPod."""
    return {
        "WORKER_MODE": "queue",
        "RUNPOD_POD_ID": worker_id,
        "RUNPOD_ENDPOINT_ID": endpoint_url.rpartition("/")[2],
        "RUNPOD_AI_API_KEY": key or "local",
        "RUNPOD_PING_INTERVAL": str(PING_INTERVAL_MS),
        "RUNPOD_WEBHOOK_GET_JOB": f"{endpoint_url}/job-take/$ID?gpu=local",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{endpoint_url}/job-done/$RUNPOD_POD_ID/$ID?gpu=local",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{endpoint_url}/job-stream/$RUNPOD_POD_ID/$ID?gpu=local",
        "RUNPOD_WEBHOOK_PING": f"{endpoint_url}/ping/$RUNPOD_POD_ID?gpu=local",
    }


def http_variables(worker_id: str, endpoint: str) -> dict[str, str]:
    """RunPod's variables of a worker behind a load balancer: two free ports, and a key of its own."""
    with _listening() as requests, _listening() as health:
        ports = [str(one.getsockname()[1]) for one in (requests, health)]
    return {
        "WORKER_MODE": "http",
        "RUNPOD_POD_ID": worker_id,
        "RUNPOD_ENDPOINT_ID": endpoint,
        "PORT": ports[0],
        "PORT_HEALTH": ports[1],
        "API_KEY": secrets.token_hex(16),
        "API_KEYS_FILE": "",
    }


def _listening() -> socket.socket:
    """A socket on a port that is free on every address of this machine."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))
