"""Values in the wrong variable: with vLLM's prefix, the model's name elsewhere, an address as a name."""

from __future__ import annotations

import pytest

from worker_vllm.engine.process.command import child_environment
from worker_vllm.errors import ConfigurationError, Problem
from worker_vllm.settings.flags.flag_table import flag_table
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import load
from worker_vllm.settings.rules.misplaced import MODEL_NAMES

MODEL = {"MODEL_NAME": "org/m"}


def problems(env: dict[str, str], facts: HostFacts | None = None) -> tuple[Problem, ...]:
    """The problems of an environment."""
    with pytest.raises(ConfigurationError) as caught:
        load(env, facts)
    return caught.value.problems


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_model_named_elsewhere_is_an_error_that_names_model_name(name: str) -> None:
    """Serving the documented default instead would answer every caller with another model."""
    (problem,) = problems({name: "/models/mine"})
    assert (problem.key, problem.value) == (name, "/models/mine")
    assert problem.change == f"rename it to MODEL_NAME, or set IGNORE_ENV={name} if it belongs to another program"
    assert load({name: "/models/mine", "IGNORE_ENV": name}).engine.model == "facebook/opt-125m"


@pytest.mark.parametrize(
    "facts",
    [
        HostFacts(manifest={"models": [{"role": "model", "repo_id": "org/m"}]}),
        HostFacts(config_file={"model": "org/m"}),
        HostFacts(),
    ],
    ids=["baked", "config file", "MODEL_NAME"],
)
def test_where_the_model_is_known_other_names_are_ignored(facts: HostFacts) -> None:
    """MODEL is a common variable, and the worker has what it needs."""
    env = {} if facts.manifest or facts.config_file else MODEL
    assert load({**env, "MODEL": "x", "MODEL_PATH": "/x"}, facts).engine.model == "org/m"
    assert load({"ENGINE_URL": "http://h", "MODEL": "x"}).warnings == ()


@pytest.mark.parametrize(
    ("asked", "model", "revision"),
    [
        ("https://huggingface.co/org/name", "org/name", None),
        ("https://huggingface.co/org/name/", "org/name", None),
        ("http://www.huggingface.co/org/name?library=vllm", "org/name", None),
        ("huggingface.co/org/name", "org/name", None),
        ("hf.co/org/name", "org/name", None),
        ("https://huggingface.co/org/name/tree/main", "org/name", "main"),
        ("https://huggingface.co/org/name/tree/refs%2Fpr%2F1", "org/name", "refs/pr/1"),
        ("https://huggingface.co/org/name/blob/v2/config.json", "org/name", "v2"),
        ("https://huggingface.co/org/name/commit/0a1b2c3", "org/name", "0a1b2c3"),
    ],
)
def test_an_address_on_the_hub_is_the_repository_that_it_shows(asked: str, model: str, revision: str | None) -> None:
    """With the revision of its page; a warning shows the result."""
    settings = load({"MODEL_NAME": asked})
    arguments = ("--revision", revision) if revision else ()
    assert (settings.engine.model, settings.engine.served_names, settings.engine.arguments) == (
        model,
        (model,),
        arguments,
    )
    assert settings.warnings[0].startswith(f"MODEL_NAME={asked} is read as {model}")


def test_model_revision_wins_over_an_addresss() -> None:
    """It names the repository alone."""
    env = {"MODEL_NAME": "https://huggingface.co/org/name/tree/main", "MODEL_REVISION": "v2"}
    assert load(env).engine.arguments == ("--revision", "v2")


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        ("org/name:main", "write MODEL_NAME=org/name and MODEL_REVISION=main"),
        ("org/name@v1.0", "write MODEL_NAME=org/name and MODEL_REVISION=v1.0"),
        ("https://example.com/org/name", "write it as org/name, as the model's page on the hub shows it"),
        ("https://huggingface.co/datasets/org/name", "write it as org/name, as the model's page on the hub shows it"),
    ],
)
def test_what_is_no_models_name_is_refused(asked: str, change: str) -> None:
    """Before anything is asked of the hub."""
    assert [(found.key, found.value, found.change) for found in problems({"MODEL_NAME": asked})] == [
        ("MODEL_NAME", asked, change)
    ]


@pytest.mark.parametrize("name", ["s3://bucket/a:b", "/models/a:b", "./models/a:b", "gs://bucket/model", "org/name"])
def test_paths_and_stores_keep_their_colons(name: str) -> None:
    """They are not tags."""
    assert load({"MODEL_NAME": name}).engine.model == name


@pytest.mark.parametrize(
    ("env", "arguments"),
    [
        ({"VLLM_MAX_MODEL_LEN": "8k"}, ("--max-model-len", "8000")),
        ({"VLLM_ENABLE_SLEEP_MODE": "1"}, ("--enable-sleep-mode",)),
        ({"VLLM_TENSOR_PARALLEL_SIZE": "2"}, ("--tensor-parallel-size", "2")),
    ],
)
def test_settings_behind_vllms_prefix_are_read(env: dict[str, str], arguments: tuple[str, ...]) -> None:
    """With a warning; the engine, which warns about unknown names, does not get them."""
    settings = load({**MODEL, **env})
    (name,) = env
    assert settings.engine.arguments == arguments
    assert settings.warnings[0].startswith(f"{name} is read as {name.removeprefix('VLLM_')}")
    assert name not in child_environment(settings.engine, env, "/tmp/d")


def test_worker_settings_behind_the_prefix_are_read_and_the_plain_name_wins() -> None:
    """Whatever the group."""
    settings = load({**MODEL, "VLLM_MAX_CONCURRENCY": "3", "VLLM_SEED": "4", "SEED": "5", "VLLM_SWAP_SPACE": "8"})
    assert settings.queue.max_concurrency == 3
    assert settings.engine.arguments == ("--seed", "5")
    assert "VLLM_SEED is ignored: SEED is set too" in settings.warnings
    assert any(warning.startswith("SWAP_SPACE has no effect") for warning in settings.warnings)
    assert load({"VLLM_MODEL_NAME": "org/m"}).engine.model == "org/m"


def test_vllms_own_variables_keep_their_meaning() -> None:
    """None of them is read as a setting, although some have the name of one."""
    own = {name: "1" for name in sorted(flag_table().variables) if name.startswith("VLLM_")}
    own.pop("VLLM_ALLOW_RUNTIME_LORA_UPDATING")  # documented as another name of ALLOW_LORA_UPDATES
    own.pop("VLLM_ENABLE_RESPONSES_API_STORE")  # refused where jobs are taken: see test_request_limits
    own.pop("VLLM_API_KEY")
    settings = load(
        {**MODEL, **own, "VLLM_HOST": "0.0.0.0", "VLLM_PORT": "tcp://10.0.0.1:80", "VLLM_SOME_PLUGIN": "1"}
    )
    assert (settings.engine.arguments, settings.engine.withheld) == ((), ())


@pytest.mark.parametrize(
    ("env", "key", "value", "change"),
    [
        ({"VLLM_MAX_MODEL_LEN": "8k tokens"}, "VLLM_MAX_MODEL_LEN", "8k tokens", "write for example 8192 or 8k"),
        ({"VLLM_HF_HOME": "/x"}, "VLLM_HF_HOME", "/x", "rename it to HF_HOME"),
        ({"VLLM_HF_TOKEN": "abcdefgh"}, "VLLM_HF_TOKEN", "***", "rename it to HF_TOKEN"),
        (
            {"VLLM_MAX_MODEL_LENN": "8k"},
            "VLLM_MAX_MODEL_LENN",
            "8k",
            "rename it to MAX_MODEL_LEN, or set IGNORE_ENV=VLLM_MAX_MODEL_LENN if it belongs to another program",
        ),
    ],
)
def test_problems_of_a_prefixed_variable_show_the_name_that_was_written(
    env: dict[str, str], key: str, value: str, change: str
) -> None:
    """The error names the variable that the operator has to change."""
    assert [(found.key, found.value, found.change) for found in problems({**MODEL, **env})] == [(key, value, change)]
