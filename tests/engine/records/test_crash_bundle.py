"""The content of a crash bundle: complete, bounded, without secrets, and without prompts that nobody asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker_vllm.engine.diagnosis.diagnose import EngineExit, diagnose
from worker_vllm.engine.interface import EngineRequest
from worker_vllm.engine.records.crash_bundle import LEFT_OUT, MAX_BYTES, BundleContext, crash_bundle
from worker_vllm.engine.records.events import EngineDeath, RequestInFlight, RequestsInFlight
from worker_vllm.observability.logging import current_job
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import load
from worker_vllm.settings.types import Settings

CANARY = "canary-7f3a9c-secret"
TOKEN = "hf_canaryAbCdEfGhIjKlMnOpQrStUv"  # secret by its format; no variable holds it
PROMPT = "the colour of my bank card"
ENVIRONMENT = {
    "MODEL_NAME": "org/m",
    "MAX_LEN_TYPO": "1",
    "MAX_MODEL_LEN": "4096",
    "HF_TOKEN": CANARY,
    "RUNPOD_AI_API_KEY": f"{CANARY}-platform",
    "VLLM_EXTRA_ARGS": "--enforce-eager",
    "RUNPOD_POD_ID": "w1",
    "RUNPOD_WEBHOOK_GET_JOB": f"https://user:{CANARY}@host/job-take/$ID?gpu=x",
    "RUNPOD_WEBHOOK_POST_OUTPUT": "https://host/job-done/$ID?",
}
LINES = (
    f"loading with token {CANARY}",
    f"hub said: {TOKEN} is not valid",
    f"Request cmpl-1 details: prompt: '{PROMPT}', prompt_token_ids: [1, 2]",
    f"Received request cmpl-1: params: x, prompt: {PROMPT}",
    "Segfault encountered",
)
BODY = json.dumps({"prompt": PROMPT, "api": CANARY}).encode()
FLYING = (RequestInFlight("job-1", "/v1/completions", 1.25, BODY), RequestInFlight("job-2", "/v1/chat", 0.5, None))


def settings(**more: str) -> Settings:
    """A worker's settings."""
    return load({**ENVIRONMENT, **more}, HostFacts())


def death(
    found: Settings, lines: tuple[str, ...] = LINES, flying: tuple[RequestInFlight, ...] = FLYING
) -> EngineDeath:
    """An engine that was killed after a minute."""
    ended = EngineExit(exit_code=-9, lines=lines, was_ready=True, model="org/m")
    return EngineDeath(found.engine, None, ended, diagnose(ended), 60.0, flying)


def bundle(found: Settings, dead: EngineDeath | None = None, **more: str) -> tuple[str, dict[str, Any]]:
    """The text, and what it says."""
    context = BundleContext(found, {**ENVIRONMENT, **more}, {"vllm": "0.32.0"}, "2026-11-25T12:00:00Z")
    content = crash_bundle(dead or death(found), context, "/v/crash.json")
    assert len(content) <= MAX_BYTES
    text = content.decode()
    return text, json.loads(text)


def test_it_contains_cause_settings_versions_requests_and_the_command_that_replays_it() -> None:
    """Settings with the layer that set them; each request by its job's id."""
    _, found = bundle(settings())
    assert found["replay"] == "worker-vllm replay /v/crash.json"
    assert (found["cause"]["cause"], found["cause"]["exit_code"], found["cause"]["healthy_s"]) == (
        "killed by SIGKILL",
        -9,
        60.0,
    )
    assert found["versions"] == {"vllm": "0.32.0"}
    assert found["engine_command"][:3] == ["vllm", "serve", "org/m"]
    rows = {row["name"]: (row["value"], row["source"]) for row in found["settings"]}
    assert rows["MAX_MODEL_LEN"] == (4096, "environment")
    assert rows["ENFORCE_EAGER"] == (True, "VLLM_EXTRA_ARGS")
    assert rows["HF_TOKEN"] == ("***", "environment")
    assert not {"MAX_NUM_SEQS", "GPU_MEMORY_UTILIZATION"} & rows.keys()  # not set
    assert found["environment"]["MAX_MODEL_LEN"] == "4096"
    assert found["environment"]["HF_TOKEN"] == "***"
    assert [(each["job"], each["path"], each["running_s"]) for each in found["requests_in_flight"]] == [
        ("job-1", "/v1/completions", 1.25),
        ("job-2", "/v1/chat", 0.5),
    ]
    assert found["log"][-1] == "Segfault encountered"


@pytest.mark.parametrize("wanted", ["0", "1"])
def test_no_secret_is_in_it(wanted: str) -> None:
    """By value wherever it stands, the bodies of requests included, and by the format of known tokens."""
    text, _ = bundle(settings(CRASH_BUNDLE_PROMPTS=wanted))
    assert CANARY not in text
    assert TOKEN not in text


def test_prompts_are_in_it_only_when_the_operator_wants_them() -> None:
    """Neither from the requests nor from a log with requests in it."""
    text, found = bundle(settings())
    assert PROMPT not in text
    assert found["log"][2:4] == [LEFT_OUT, LEFT_OUT]
    assert "CRASH_BUNDLE_PROMPTS=1" in found["prompts"]
    _, found = bundle(settings(CRASH_BUNDLE_PROMPTS="1"))
    body = found["requests_in_flight"][0]["body"]
    assert json.loads(body) == {"prompt": PROMPT, "api": "***"}
    assert PROMPT in found["log"][2]


@pytest.mark.parametrize(
    ("lines", "count", "size"),
    [
        (("x" * 4096,) * 400, 2, 10),
        (LINES, 100_000, 10),
        (LINES, 500, 60_000),
        (LINES, 2, 5_000_000),
        (("é" * 4000,) * 400, 1000, 60_000),
        (("\x00" * 4096,) * 400, 1000, 60_000),
    ],
    ids=["long log", "many requests", "many bodies", "long bodies", "everything", "escapes"],
)
def test_its_size_is_bounded(lines: tuple[str, ...], count: int, size: int) -> None:
    """The newest lines stay, the cause and the ids stay."""
    flying = tuple(RequestInFlight(f"job-{n}", "/v1/completions", 1.0, b"\x01" * size) for n in range(count))
    kept = settings(CRASH_BUNDLE_PROMPTS="1")
    _, found = bundle(kept, death(kept, lines, flying))
    assert len(found["requests_in_flight"]) + found["requests_not_listed"] == count
    assert found["requests_in_flight"][0]["job"] == "job-0"
    assert found["cause"]["cause"] == "killed by SIGKILL"


def test_a_request_is_in_flight_until_its_end_is_reported() -> None:
    """With the id of the job in whose task it was sent; its body is held only if bodies are wanted."""
    now = [10.0]
    for keep in (True, False):
        requests = RequestsInFlight(keep_bodies=keep, clock=lambda: now[0])
        token = current_job.set("job-1")
        ended = requests.add(EngineRequest("POST", "/v1/completions", BODY))
        current_job.reset(token)
        requests.add(EngineRequest("GET", "/health"))()
        now[0] += 2
        body = BODY if keep else None
        assert requests.snapshot() == (RequestInFlight("job-1", "/v1/completions", 2.0, body),)
        ended()
        ended()
        assert len(requests) == 0
