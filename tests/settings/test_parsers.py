"""One parser for each kind of value, whatever variable it stands in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker_vllm.errors import ConfigurationError, Problem
from worker_vllm.settings.catalog.catalog import catalog
from worker_vllm.settings.flags.flag_table import flag_table, known_versions, nearest_version
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import load
from worker_vllm.settings.parsers import (
    BadValue,
    cleaned,
    parse_bool,
    parse_float,
    parse_int,
    parse_list,
    parse_object,
    parse_size,
)
from worker_vllm.settings.types import Settings


@pytest.mark.parametrize("text", ["1", "true", "True", "TRUE", "yes", "on", " On "])
def test_yes(text: str) -> None:
    """Every usual spelling of true and false, in any case."""
    assert parse_bool(text) is True
    assert parse_bool({"1": "0", "yes": "no"}.get(text.strip().lower(), "off")) is False


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_int, "7", 7),
        (parse_int, "7.0", 7),
        (parse_int, "-1", -1),
        (parse_float, "0.9", 0.9),
        (parse_float, "1e3", 1000.0),
        (parse_size, "8k", 8000),
        (parse_size, "8K", 8192),
        (parse_size, "1.5m", 1500000),
        (parse_size, "2G", 2**31),
        (parse_size, "4096", 4096),
        (parse_list, "a, b c", ["a", "b", "c"]),
        (parse_list, '["a", {"b": 1}]', ["a", '{"b":1}']),
        (parse_list, '{"a": 1}', ['{"a": 1}']),
        (parse_object, '{"a": [1]}', {"a": [1]}),
    ],
)
def test_a_value(parse: Callable[[str], Any], text: str, value: Any) -> None:
    """The text's meaning."""
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_bool, "2"),
        (parse_bool, "maybe"),
        (parse_int, "7.5"),
        (parse_int, "1e3"),
        (parse_int, "x"),
        (parse_float, "inf"),
        (parse_float, "nan"),
        (parse_size, "8 k"),
        (parse_size, "1.5K"),
        (parse_size, "8kb"),
        (parse_object, "[]"),
        (parse_object, "{'a': 1}"),
        (parse_object, '{"a": NaN}'),
    ],
)
def test_a_text_that_is_no_value(parse: Callable[[str], Any], text: str) -> None:
    """Refused with what was expected and what to write."""
    with pytest.raises(BadValue) as caught:
        parse(text)
    assert caught.value.expected
    assert caught.value.change


@pytest.mark.parametrize(("text", "kept"), [("", None), ("  ", None), ("None", None), ("NULL", None), (" a ", "a")])
def test_what_counts_as_not_set(text: str, kept: str | None) -> None:
    """Empty texts, and a console's None."""
    assert cleaned(text) == kept


NAMES = st.sampled_from(sorted({*catalog(), *flag_table().flags, "VLLM_LOGGING_LEVEL", "PATH"})) | st.text(max_size=8)
BROKEN = ["[ngram]", "[", "{", '["a"', "[{}]", "a=b,c", "-x", "'"]
VALUES = st.sampled_from([*BROKEN, "0", "1", "{}", "[]", '{"a":{"b":[1]}}', "-1", "8k"]) | st.text(max_size=20)


@pytest.mark.timeout(60)
@settings(max_examples=150, deadline=None)
@given(
    env=st.dictionaries(NAMES, VALUES, max_size=10), gpus=st.integers(0, 9), version=st.sampled_from(known_versions())
)
def test_any_environment_gives_settings_or_problems(env: dict[str, str], gpus: int, version: str) -> None:
    """Never another error, whatever the texts are; every problem is complete, and no argument is empty."""
    problems: tuple[Problem, ...] = ()
    try:
        found = load(env, HostFacts(vllm=version, gpus=gpus))
    except ConfigurationError as error:
        problems, found = error.problems, Settings()
    assert all(problem.key and problem.expected and problem.change for problem in problems)
    assert all(found.engine.arguments)
    assert found.engine.served_names


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", BROKEN)
def test_no_text_of_one_variable_breaks_the_verdict(text: str) -> None:
    """Each setting and each vLLM flag with an invalid text gives settings or problems, never another exception."""
    for name in (*catalog(), *flag_table().flags):
        with contextlib.suppress(ConfigurationError):
            assert load({name: text}).engine.served_names


def test_an_unknown_version_gets_the_data_of_the_nearest_older_one() -> None:
    """The oldest where all are newer."""
    known = ["0.27.1", "0.32.0", "0.33.0"]
    asked = ["0.20.0", "0.27.0", "0.30.1", "0.32.5", "0.40.0", "1.0.0+cu130"]
    assert [nearest_version(version, known) for version in asked] == [
        "0.27.1", "0.27.1", "0.27.1", "0.32.0", "0.33.0", "0.33.0",
    ]  # fmt: skip


@pytest.mark.parametrize("version", known_versions())
def test_each_versions_flags_are_its_own(version: str) -> None:
    """A flag of a later vLLM is a problem for an older one; the problem names the version."""
    table = flag_table(version)
    assert table.version == version
    newer = sorted(set(flag_table("0.33.0").flags) - set(table.flags))
    for name in newer[:3]:
        with pytest.raises(ConfigurationError, match=f"a flag of vLLM {version}"):
            load({"VLLM_EXTRA_ARGS": f"{flag_table('0.33.0').flags[name].flag} 1"}, HostFacts(vllm=version))


CONFIGS: list[dict[str, Any]] = [
    {"architectures": "X"},
    {"architectures": [1]},
    {"text_config": 5},
    {"text_config": None, "num_attention_heads": "x"},
    {"rope_parameters": 5, "num_attention_heads": 0},
    {"rope_scaling": "x"},
]
MANIFESTS: list[dict[str, Any]] = [
    {},
    {"models": None},
    {"models": {}},
    {"models": ["x"]},
    {"models": [{"role": "model"}]},
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("manifest", MANIFESTS)
def test_files_that_are_not_what_they_should_be_break_nothing(
    config: dict[str, Any], manifest: dict[str, Any]
) -> None:
    """A model's config.json and an image's manifest may hold anything; preflight reports what is wrong."""
    facts = HostFacts(model_config=config, manifest=manifest, gpus=4)
    with contextlib.suppress(ConfigurationError):
        load({"MODEL_NAME": "org/m", "ROPE_SCALING": '{"type": {"a": 1}}', "ROPE_THETA": "7"}, facts)
    assert load({"MODEL_NAME": "org/m"}, facts).engine.model == "org/m"
