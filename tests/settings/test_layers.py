"""Precedence: default < config file < environment < VLLM_EXTRA_ARGS, with the baked model as the one exception."""

from __future__ import annotations

from typing import Any

import pytest

from worker_vllm.errors import ConfigurationError
from worker_vllm.settings.host_facts import HostFacts, ModelFiles, ModelSource
from worker_vllm.settings.load import build_draft, load
from worker_vllm.settings.summary import context

MANIFEST = {"models": [{"role": "model", "repo_id": "org/baked", "commit": "c0ffee", "revision": "main"}]}


def sources(env: dict[str, str], facts: HostFacts) -> dict[str, tuple[Any, str]]:
    """Effective value and source by name."""
    return {origin.name: (origin.value, origin.source) for origin in load(env, facts).origins}


def test_each_layer_wins_over_the_one_before() -> None:
    """`config show` names the layer."""
    facts = HostFacts(config_file={"seed": 1, "max-model-len": "1k", "max_num_seqs": 2, "model": "org/file"})
    env = {"SEED": "3", "MAX_MODEL_LEN": "2k", "VLLM_EXTRA_ARGS": "--seed 5"}
    found = sources(env, facts)
    assert found["SEED"] == (5, "VLLM_EXTRA_ARGS")
    assert found["MAX_MODEL_LEN"] == (2000, "environment")
    assert found["MAX_NUM_SEQS"] == (2, "config file (VLLM_CONFIG_FILE)")
    assert found["DTYPE"] == ("auto", "vLLM's default")
    assert found["MAX_CONCURRENCY"] == (300, "default")
    settings = load(env, facts)
    assert settings.engine.arguments == ("--max-model-len", "2000", "--max-num-seqs", "2", "--seed", "5")
    assert settings.engine.model == "org/file"
    assert load({"MODEL_NAME": "org/env"}, facts).engine.model == "org/env"


def test_a_baked_model_wins_over_the_environment() -> None:
    """With a warning where they differ; its name stays the repository id."""
    facts = HostFacts(manifest=MANIFEST)
    settings = load({"MODEL_NAME": "org/other", "MODEL_REVISION": "v2"}, facts)
    assert (settings.engine.model, settings.engine.served_names) == ("org/baked", ("org/baked",))
    assert settings.engine.arguments == ()
    assert settings.warnings == (
        "MODEL_NAME=org/other is ignored: the image serves the model org/baked that it contains",
        "MODEL_REVISION=v2 is ignored: the image contains commit c0ffee",
    )
    assert load({"MODEL_NAME": "ORG/baked", "MODEL_REVISION": "main"}, facts).warnings == ()


@pytest.mark.parametrize(
    ("env", "source"),
    [
        ({}, ModelSource("facebook/opt-125m")),
        ({"MODEL_NAME": "org/m", "MODEL_REVISION": "v1"}, ModelSource("org/m", "v1")),
        ({"MODEL_NAME": "https://huggingface.co/org/m/tree/v2"}, ModelSource("org/m", "v2")),
        (
            {"MODEL_NAME": "org/m", "DOWNLOAD_DIR": "/d", "VLLM_EXTRA_ARGS": "--revision v3 --seed 1"},
            ModelSource("org/m", "v3", "/d"),
        ),
        ({"MODEL_NAME": "org/m", "REVISION": "v1", "VLLM_EXTRA_ARGS": "--revision 'v3"}, ModelSource("org/m", "v1")),
    ],
)
def test_the_host_is_searched_once_for_the_model_of_the_strongest_layer(
    env: dict[str, str], source: ModelSource
) -> None:
    """The rules that need its config.json get it in the same pass."""
    searched = []

    def find(asked: ModelSource) -> ModelFiles:
        searched.append(asked)
        return ModelFiles({"num_attention_heads": 6, "max_position_embeddings": 99}, True)

    draft = build_draft(env, HostFacts(find_model=find, gpus=4))
    assert searched == [source]
    assert (draft.flag_value("TENSOR_PARALLEL_SIZE"), context(draft)) == (3, 99)


def test_the_host_is_not_searched_where_a_server_is_attached() -> None:
    """The server has its own model."""

    def find(_: ModelSource) -> ModelFiles:
        raise AssertionError("the host was searched")

    assert build_draft({"ENGINE_URL": "http://h"}, HostFacts(find_model=find)).facts.model_config is None


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("--enforce-eager", ("--enforce-eager",)),
        ("--no-enable-prefix-caching -tp 2", ("--no-enable-prefix-caching", "--tensor-parallel-size", "2")),
        ("--max_model_len=8k", ("--max-model-len", "8000")),
        ("--cudagraph-capture-sizes 1 2 4", ("--cudagraph-capture-sizes", "1", "2", "4")),
        ("""--hf-overrides '{"a": "b c"}'""", ("--hf-overrides", '{"a":"b c"}')),
        ("-O3", ("--optimization-level", "3")),
        ("--attention-config.flash_attn_version 3", ("--attention-config", '{"flash_attn_version":3}')),
        (
            "--compilation-config.custom_ops+ a,b --compilation-config.custom_ops+ c",
            ("--compilation-config", '{"custom_ops":["a","b","c"]}'),
        ),
        (
            "--tool-call-parser hermes --enable-auto-tool-choice",
            ("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
        ),
        ("--logits-processors a.B c.D", ("--logits-processors", "a.B", "c.D")),
        ("--seed -5", ("--seed=-5",)),
        ("--host=None --port 8000", ()),
    ],
)
def test_extra_args_are_a_piece_of_command_line(text: str, arguments: tuple[str, ...]) -> None:
    """Every way in which vLLM's own parser takes them."""
    assert load({"VLLM_EXTRA_ARGS": text}).engine.arguments == arguments


def test_a_dotted_key_changes_the_value_from_the_environment() -> None:
    """One key of the object, the others stay."""
    env = {"HF_OVERRIDES": '{"a": {"b": 1, "c": 2}}', "VLLM_EXTRA_ARGS": "--hf-overrides.a.b 5"}
    assert load(env).engine.arguments == ("--hf-overrides", '{"a":{"b":5,"c":2}}')


@pytest.mark.parametrize(
    "text",
    [
        "org/model",
        "--no-such-flag",
        "--max-modl-len 8k",
        "--seed",
        "--seed 1 2",
        "--enforce-eager yes",
        "--uds /x",
        "--middleware a.B",
        "--api-key k",
        "--hf-token hf_x",
        "--nnodes 2",
        "--config file.yaml",
        "--seed 'x",
        "--dtype fp7",
    ],
)
def test_extra_args_that_cannot_work_are_refused(text: str) -> None:
    """Unknown, ours to set, or without the value that they need."""
    with pytest.raises(ConfigurationError) as caught:
        load({"VLLM_EXTRA_ARGS": text})
    assert [problem.key for problem in caught.value.problems] == ["VLLM_EXTRA_ARGS"]


@pytest.mark.parametrize(
    "document", [{"no-such": 1}, {"port": 9}, {"seed": "x"}, {"seed": True}, {"limit-mm-per-prompt": "x"}]
)
def test_a_config_file_that_cannot_work_is_refused(document: dict[str, Any]) -> None:
    """Like a variable of the same value."""
    with pytest.raises(ConfigurationError) as caught:
        load({}, HostFacts(config_file=document))
    assert [problem.key for problem in caught.value.problems] == ["VLLM_CONFIG_FILE"]


def test_a_missing_config_file_is_a_problem() -> None:
    """The problem comes from the host inspection."""
    with pytest.raises(ConfigurationError, match="expected a file that can be read"):
        load({"VLLM_CONFIG_FILE": "/x"}, HostFacts(config_file_problem="a file that can be read"))


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"UDS": "/x"}, "private socket"),
        ({"HEADLESS": "1"}, "one serverless worker is one machine"),
        ({"NNODES": "2"}, "one serverless worker is one machine"),
        ({"MIDDLEWARE": "a.B"}, "its own guard"),
        ({"SSL_KEYFILE": "/k"}, "the platform ends TLS"),
    ],
)
def test_flags_that_are_ours_are_refused_with_the_reason(env: dict[str, str], reason: str) -> None:
    """In a variable as on a command line."""
    with pytest.raises(ConfigurationError, match=reason):
        load(env)


def test_what_ignore_env_names_is_left_alone_altogether() -> None:
    """Another program's variable with the name of a flag, and one that would be refused."""
    env = {"REVISION": "0a1b2c", "UDS": "/run/other.sock", "RUNNER": "ci-7", "IGNORE_ENV": "REVISION, UDS RUNNER"}
    assert load(env).engine.arguments == ()


def test_names_of_the_system_are_left_alone() -> None:
    """They are common, and vLLM's flags of these names are ours to set or unreachable on purpose."""
    env = {"HOST": "laptop", "PORT": "8080", "MASTER_ADDR": "x", "MASTER_PORT": "tcp://1:2", "NODE_RANK": "0"}
    harmless = {"NNODES": "1", "HEADLESS": "false", "ROOT_PATH": "/app", "CONFIG": "x", "LOG_LEVEL": "verbose"}
    settings = load(env | harmless)
    assert settings.engine.arguments == ()
    assert "LOG_LEVEL=verbose is not a log level; INFO is used" in settings.warnings
