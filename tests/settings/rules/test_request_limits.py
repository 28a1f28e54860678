"""The limits of one request, and the routes that a variable of vLLM's would open."""

from __future__ import annotations

from dataclasses import fields

import pytest

from worker_vllm.errors import ConfigurationError
from worker_vllm.settings.catalog.catalog import catalog
from worker_vllm.settings.load import load
from worker_vllm.settings.types import RequestLimits

STORE = "VLLM_ENABLE_RESPONSES_API_STORE"


@pytest.mark.parametrize("name", [field.name for field in fields(RequestLimits)])
def test_every_limit_is_a_variable_whose_documented_default_holds(name: str) -> None:
    [setting] = [one for one in catalog().values() if one.field == f"limits.{name}"]
    assert int(setting.default) == getattr(load({}).limits, name)
    assert getattr(load({setting.name: "7"}).limits, name) == 7
    assert getattr(load({setting.name: "0"}).limits, name) == 0
    assert "0 is no limit" in setting.help
    with pytest.raises(ConfigurationError):
        load({setting.name: "-1"})


@pytest.mark.parametrize(
    ("ours", "engines", "field"),
    [
        ("MAX_N", "VLLM_MAX_N_SEQUENCES", "n"),
        ("MAX_PROMPTS", "VLLM_MAX_COMPLETION_PROMPTS", "prompts"),
        ("MAX_STOP", "VLLM_MAX_STOP_STRINGS", "stop"),
    ],
)
def test_a_limit_that_the_engine_has_too_is_passed_to_it(ours: str, engines: str, field: str) -> None:
    """Raising one of the two would otherwise change nothing."""
    for name in (ours, engines):
        settings = load({name: "2000"})
        assert getattr(settings.limits, field) == 2000
        assert settings.engine.environment == {engines: "2000"}
    assert load({ours: "0"}).engine.environment == {}


def test_the_tokenizers_route_is_opened_by_its_flag() -> None:
    assert load({"ENABLE_TOKENIZER_INFO_ENDPOINT": "1"}).jobs.tokenizer_info
    assert not load({"ENABLE_TOKENIZER_INFO_ENDPOINT": "0"}).jobs.tokenizer_info
    assert not load({}).jobs.tokenizer_info


def test_stored_responses_are_refused_where_jobs_are_taken() -> None:
    """The next job may reach another worker; http mode and IGNORE_ENV allow it."""
    with pytest.raises(ConfigurationError, match=f'{STORE}="1": expected 0 where jobs are taken'):
        load({STORE: "1"})
    load({STORE: "0"})
    load({STORE: "1", "IGNORE_ENV": STORE})
    load({STORE: "1", "WORKER_MODE": "http"})
