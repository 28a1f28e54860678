"""The guard's file: what it holds, who can read it, and that a guard without it does not start."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from worker_vllm.errors import ConfigurationError
from worker_vllm.settings.load import load
from worker_vllm.settings.types import RequestLimits, RequestPolicy
from worker_vllm.web.guard import RequestGuard
from worker_vllm.web.guard_settings import VARIABLE, GuardSettings, digest, guard_settings, read, write

HTTP = {"WORKER_MODE": "http", "MODEL_NAME": "org/model"}
SAFE = GuardSettings(served_name="org/model", repository="org/model")


def from_env(**env: str) -> GuardSettings:
    return guard_settings(load(HTTP | env))


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, {}),
        (
            {"API_KEY": "key-one, key-two,", "API_KEYS_FILE": "/keys"},
            {"key_digests": (digest("key-one"), digest("key-two")), "keys_file": "/keys"},
        ),
        ({"MAX_BODY_BYTES": "5", "MAX_CONCURRENCY": "7"}, {"max_body_bytes": 5, "max_concurrency": 7}),
        ({"TRANSLATE_HTTP": "1", "HEALTH_CHECK_PATH": "/up"}, {"translate": True, "health_path": "/up"}),
        ({"MAX_N": "3"}, {"limits": RequestLimits(n=3)}),
        (
            {"ALLOW_LORA_UPDATES": "1", "ENABLE_TOKENIZER_INFO_ENDPOINT": "1"},
            {"lora_updates": True, "tokenizer_info": True},
        ),
        ({"ALLOWED_MEDIA_DOMAINS": "A.example,b.example"}, {"policy": RequestPolicy(("a.example", "b.example"))}),
        ({"ALLOWED_MEDIA_DOMAINS": "*", "MAX_MEDIA": "3"}, {"policy": RequestPolicy(("*",), media=3)}),
        (
            {"TRUST_REQUEST_CHAT_TEMPLATE": "1", "TRUST_REQUEST_MM_KWARGS": "1", "ALLOWED_LOCAL_MEDIA_PATH": "/m"},
            {"policy": RequestPolicy(local_media=True, chat_templates=True, mm_kwargs=True)},
        ),
        ({"ALLOWED_ORIGINS": '["https://a.example"]'}, {"preflight": True}),
        ({"ENGINE_URL": "http://127.0.0.1:9"}, {"served_name": None, "repository": None}),
    ],
)
def test_variables_become_rules_and_survive_the_file(
    env: dict[str, str], expected: dict[str, object], tmp_path: Path
) -> None:
    found = from_env(**env)
    fields = {name: getattr(SAFE, name) for name in SAFE.__slots__} | expected
    assert found == GuardSettings(**fields)
    assert read(write(found, str(tmp_path / "guard.json"))) == found


def test_the_file_is_its_owners_and_holds_no_key(tmp_path: Path) -> None:
    path = tmp_path / "guard.json"
    write(from_env(API_KEY="canary-key-one,canary-key-two"), str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "canary" not in path.read_text()
    with pytest.raises(FileExistsError):
        write(SAFE, str(path))


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"limits": {}}'])
def test_a_guard_without_its_rules_does_not_start(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "guard.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv(VARIABLE, str(path))

    async def app(*_: object) -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError, match=VARIABLE):
        RequestGuard(app)


def test_a_field_that_is_unknown_or_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "guard.json"
    environment = write(SAFE, str(path))
    value = json.loads(path.read_text())
    for changed in ({**value, "more": 1}, {key: value[key] for key in value if key != "key_digests"}):
        path.write_text(json.dumps(changed))
        with pytest.raises(ConfigurationError):
            read(environment)


@pytest.mark.parametrize(
    "env",
    [
        {"ALLOWED_MEDIA_DOMAINS": "http://a.example"},
        {"ALLOWED_MEDIA_DOMAINS": "*.a.example"},
        {"ALLOWED_MEDIA_DOMAINS": "a.example:80"},
        {"HEALTH_CHECK_PATH": "ping"},
        {"HEALTH_CHECK_PATH": "/a b"},
        {"MAX_BODY_BYTES": "-1"},
    ],
)
def test_values_that_would_mean_something_else_are_refused(env: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        load(HTTP | env)


def test_redirects_are_off_where_media_are_fetched_unless_the_operator_says_otherwise() -> None:
    name = "VLLM_MEDIA_URL_ALLOW_REDIRECTS"
    assert load({"ALLOWED_MEDIA_DOMAINS": "a.example"}).engine.environment[name] == "0"
    assert name not in load({"ALLOWED_MEDIA_DOMAINS": "a.example", name: "1"}).engine.environment


def test_each_of_several_keys_is_a_secret() -> None:
    settings = load(HTTP | {"API_KEY": "canary-one,canary-two"})
    assert {"canary-one", "canary-two"} <= {secret.reveal() for secret in settings.secrets}


def test_variables_of_http_mode_are_no_secret_elsewhere_but_warned_about() -> None:
    settings = load({"WORKER_MODE": "local", "TRANSLATE_HTTP": "1", "MAX_BODY_BYTES": "5", "API_KEYS_FILE": "/k"})
    assert [line for line in settings.warnings if "http mode" in line] == [
        f"{name} has no effect: it belongs to http mode"
        for name in ("API_KEYS_FILE", "MAX_BODY_BYTES", "TRANSLATE_HTTP")
    ]
