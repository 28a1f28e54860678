"""Which names and values are secret, and their removal from text."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from worker_vllm.settings.flags.flag_table import SHIPPED
from worker_vllm.settings.redaction import Redactor, embedded, is_token, looks_secret, quotable
from worker_vllm.settings.sources.environment import redactor, secret_names
from worker_vllm.settings.types import Secret


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "HUGGINGFACE_HUB_TOKEN",
        "HF_TOKENS",
        "hf_token",
        "RUNPOD_APIKEY",
        "S3_ACCESS_KEY_ID",
        "MY_PASSWORD",
    ],
)
def test_a_name_that_reads_like_a_secret_is_one(name: str) -> None:
    """Whatever its case, and whether or not the worker knows it."""
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("MAX_NUM_BATCHED_TOKENS", "DEFAULT_MAX_TOKENS", "NUM_SPECULATIVE_TOKENS", "MAX_NUM_BATCHED_TOKEN"),
        *("TOKENIZER", "TOKENIZERS_PARALLELISM", "SSH_AUTH_SOCK", "PWD", "KEYBOARD", "SSL_KEYFILE", "MODEL_NAME"),
    ],
)
def test_an_ordinary_name_is_not(name: str) -> None:
    """Hiding a number of tokens would only make its error useless."""
    assert not looks_secret(name)


@pytest.mark.parametrize("name", ["HF_TOKE", "HFTOKEN", "RUNPOD_API_KYE", "AWS_SECRET_ACCES_KEY", "VLLM_API_KE"])
def test_a_slip_of_a_secrets_name_is_secret(name: str) -> None:
    """It is the value that was meant to be hidden."""
    assert secret_names([name, "MODEL_NAME"], SHIPPED) == {name}


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        ("https://user:s3cret@host/path", {"s3cret"}),
        ("--seed 1 --api-key canary", {"canary"}),
        ("--api-key=canary --seed 1", {"canary"}),
        ("""--kv-transfer-config '{"aws_secret": "canary", "port": "9"}'""", {"canary"}),
        ("take hf_AbCdEfGhIjKlMnOpQrStUv for it", {"hf_AbCdEfGhIjKlMnOpQrStUv"}),
        ("hf-internal-testing/tiny-random-gpt2", set()),
        ("https://host/path", set()),
        ("org/sk-learn-something-very-long-name", set()),
    ],
)
def test_secrets_inside_an_ordinary_value_are_found(value: str, secrets: set[str]) -> None:
    """Behind a secret's name, in a URL's user part, or by their format."""
    assert embedded(value) == secrets


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("hf_AbCdEfGhIjKlMnOpQrStUv", True),
        ("rpa_ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", True),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", True),
        ("org/model", False),
        ("hf_small", False),
        ("0a1b2c3d4e5f60718293a4b5c6d7e8f901234567", False),
    ],
)
def test_access_tokens_are_known_by_their_shape(value: str, expected: bool) -> None:
    """A commit's hash is not one."""
    assert is_token(value) is expected


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ("--seed 3", "--seed 3"),
        ("--dtype canary-7f3a9c", "--dtype ***"),
        ("--max-model-len=8k", "--max-model-len=8k"),
        ("--dtype=canary", "--dtype=***"),
        ("canary", "***"),
        ("--canary-7f3a9c", "***"),
        ("-pcanary7f3a9c", "***"),
    ],
)
def test_a_command_line_is_quoted_without_its_values(arguments: str, shown: str) -> None:
    """Options and short numbers are all that a reader needs to find the place."""
    assert quotable(arguments) == shown


def test_a_redactor_knows_every_way_in_which_a_secret_is_written() -> None:
    """As it is, escaped for JSON, Python or a URL, and line by line."""
    secret = 'ab"c\\d é/+efgh\nsecond line of it'
    redact = Redactor([Secret(secret)])
    for text in (secret, json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret), quote(secret)):
        assert "second" not in redact(text), text
    assert redact("engine log: second line of it") == "engine log: ***"


def test_a_redactor_keeps_the_shape_of_a_value() -> None:
    """Only texts change, and no key does: a secret that reads like a key must not break the error's form."""
    redact = Redactor([Secret("message")])
    assert redact.value({"message": "a message", "code": 5, "l": ["message"]}) == {
        "message": "a ***",
        "code": 5,
        "l": ["***"],
    }


def test_plain_numbers_under_unknown_names_are_not_redacted() -> None:
    """Redacting them would damage numbers in the log; a catalogue setting of kind secret is always redacted."""
    assert redactor({"SOME_TOKENS": "100000"})("took 100000") == "took 100000"
    assert redactor({"API_KEY": "100000"})("took 100000") == "took ***"


def test_the_headers_for_a_collector_are_secret() -> None:
    """OTEL_EXPORTER_OTLP_HEADERS holds `name=value` pairs; the values are secrets, and so is the whole."""
    environment = {
        "OTEL_EXPORTER_OTLP_HEADERS": "x-team=canary-1,api=canary-2",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "a=canary-3",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
    }
    shown = redactor(environment)("x-team=canary-1,api=canary-2 canary-1 canary-2 canary-3 http://collector:4318")
    assert "canary" not in shown
    assert "http://collector:4318" in shown
