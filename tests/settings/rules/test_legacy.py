"""Old settings keep their meaning: the special cases of each translation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker_vllm.errors import ConfigurationError
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.legacy.rope import completed
from worker_vllm.settings.load import load
from worker_vllm.settings.types import RopeChange

LLAMA3 = {
    "rope_theta": 500000.0,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
}
MODERN = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}
BY_LAYER = {"rope_parameters": {"full_attention": {"rope_type": "default"}, "sliding_attention": {}}}


def argument(env: dict[str, str], flag: str, config: dict[str, Any] | None = None) -> Any:
    """The JSON value of a flag, or None when it is not passed."""
    arguments = load(env, HostFacts(model_config=config, model_on_disk=True)).engine.arguments
    return json.loads(arguments[arguments.index(flag) + 1]) if flag in arguments else None


def refused(env: dict[str, str], config: dict[str, Any] | None = None) -> list[str]:
    """The variables that problems name."""
    with pytest.raises(ConfigurationError) as caught:
        load(env, HostFacts(model_config=config, model_on_disk=True))
    return [problem.key for problem in caught.value.problems]


YARN = '{"type": "yarn", "factor": 4.0}'


@pytest.mark.parametrize(
    ("env", "config", "parameters"),
    [
        (
            {"ROPE_SCALING": YARN},
            LLAMA3,
            {"rope_type": "yarn", "factor": 4.0, "rope_theta": 500000.0},
        ),
        ({"ROPE_THETA": "1e6"}, LLAMA3, {**LLAMA3["rope_scaling"], "rope_theta": 1e6}),  # type: ignore[dict-item]
        (
            {"ROPE_SCALING": YARN, "ROPE_THETA": "7"},
            MODERN,
            {"partial_rotary_factor": 0.5, "factor": 4.0, "rope_type": "yarn", "rope_theta": 7.0},
        ),
        (
            {"ROPE_SCALING": '{"type":"su","factor":2}'},
            LLAMA3,
            {"factor": 2, "rope_type": "longrope", "rope_theta": 5e5},
        ),
        ({"ROPE_SCALING": YARN, "ROPE_THETA": "7"}, None, {"factor": 4.0, "rope_type": "yarn", "rope_theta": 7.0}),
    ],
)
def test_rope_becomes_one_complete_object(
    env: dict[str, str], config: dict[str, Any] | None, parameters: dict[str, Any]
) -> None:
    """Anything less would be dropped, or lose the model's theta, in silence."""
    assert argument(env, "--hf-overrides", config) == {"rope_parameters": parameters}


def test_rope_of_a_multimodal_model_goes_into_its_text_config() -> None:
    """Merged with the other keys of HF_OVERRIDES."""
    env = {"ROPE_THETA": "7", "HF_OVERRIDES": '{"text_config": {"a": 1}, "b": 2}'}
    expected = {"text_config": {"a": 1, "rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}, "b": 2}
    assert argument(env, "--hf-overrides", {"text_config": {"rope_theta": 10000.0}}) == expected


@pytest.mark.parametrize(
    ("env", "config", "key"),
    [
        ({"ROPE_SCALING": YARN}, None, "ROPE_SCALING"),
        ({"ROPE_THETA": "7"}, None, "ROPE_THETA"),
        ({"ROPE_SCALING": '{"factor": 4.0}'}, LLAMA3, "ROPE_SCALING"),
        ({"ROPE_SCALING": "[]"}, LLAMA3, "ROPE_SCALING"),
        ({"ROPE_THETA": "7"}, BY_LAYER, "ROPE_THETA"),
        ({"ROPE_SCALING": YARN}, {"hidden_size": 8}, "ROPE_SCALING"),
    ],
)
def test_rope_that_cannot_be_completed_is_refused(env: dict[str, str], config: dict[str, Any], key: str) -> None:
    """Half an object would start, and answer wrongly."""
    assert refused(env, config) == [key]


@pytest.mark.parametrize(
    ("env", "change"),
    [
        ({"ROPE_THETA": "7"}, RopeChange("ROPE_THETA", None, 7.0)),
        ({"ROPE_SCALING": YARN}, RopeChange("ROPE_SCALING", {"type": "yarn", "factor": 4.0}, None)),
        ({"VLLM_ROPE_THETA": "7"}, RopeChange("ROPE_THETA", None, 7.0)),
    ],
)
def test_rope_of_a_model_that_is_still_to_be_downloaded_waits_for_it(env: dict[str, str], change: RopeChange) -> None:
    """Its config.json holds the missing values; until then nothing is passed, with a warning."""
    settings = load({"MODEL_NAME": "org/m", **env})
    assert (settings.engine.arguments, settings.engine.rope) == ((), change)
    assert settings.warnings[-1].endswith("is merged with the model's config.json at the start, once that is on disk")


@pytest.mark.parametrize("env", [{"ROPE_SCALING": '{"factor": 4.0}'}, {"ROPE_SCALING": "[]"}])
def test_rope_that_no_model_could_complete_is_refused_before_the_download(env: dict[str, str]) -> None:
    """It costs nothing to see it at once."""
    with pytest.raises(ConfigurationError) as caught:
        load({"MODEL_NAME": "org/m", **env})
    assert [problem.key for problem in caught.value.problems] == ["ROPE_SCALING"]


def test_rope_of_a_model_in_an_object_store_has_to_be_complete() -> None:
    """vLLM fetches it by itself, so no config.json is ever there to look into."""
    with pytest.raises(ConfigurationError, match="ROPE_SCALING beside it"):
        load({"MODEL_NAME": "s3://bucket/m", "ROPE_THETA": "7"})
    settings = load({"MODEL_NAME": "s3://bucket/m", "ROPE_THETA": "7", "ROPE_SCALING": YARN})
    assert settings.engine.arguments[0] == "--hf-overrides"


@pytest.mark.parametrize(
    ("arguments", "config", "expected"),
    [
        ((), LLAMA3, {"rope_parameters": {**LLAMA3["rope_scaling"], "rope_theta": 7.0}}),  # type: ignore[dict-item]
        (
            ("--hf-overrides", '{"a": 1}', "--seed", "3"),
            {"text_config": {"rope_theta": 1.0}},
            {"a": 1, "text_config": {"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}},
        ),
        (("--hf-overrides", '{"rope_parameters": {}}'), LLAMA3, {"rope_parameters": {}}),
    ],
)
def test_rope_is_merged_into_the_arguments_once_the_model_is_there(
    arguments: tuple[str, ...], config: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Beside what was overridden already, which wins."""
    found = completed(arguments, RopeChange("ROPE_THETA", None, 7.0), config)
    assert json.loads(found[found.index("--hf-overrides") + 1]) == expected
    assert [word for word in found if word in ("--seed", "3")] == [
        word for word in arguments if word in ("--seed", "3")
    ]


SPELLINGS = [
    '[{"name": "a", "path": "o/a"}, {"name": "b", "path": "/b", "base_model_name": "m"}]',
    '["a=o/a", {"name": "b", "path": "/b", "base_model_name": "m"}]',
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_adapters_become_one_argument_each(text: str) -> None:
    """vLLM takes no array; LoRA is switched on."""
    settings = load({"LORA_MODULES": text})
    assert settings.engine.arguments == (
        "--enable-lora",
        "--lora-modules",
        '{"name":"a","path":"o/a"}',
        '{"name":"b","path":"/b","base_model_name":"m"}',
    )


@pytest.mark.parametrize("text", ["a=o/a b=/b", "a=o/a,b=/b", "a=o/a, b=/b"])
def test_adapters_as_pairs(text: str) -> None:
    """name=path, separated by blanks or commas."""
    items = ('{"name":"a","path":"o/a"}', '{"name":"b","path":"/b"}')
    assert load({"LORA_MODULES": text}).engine.arguments == ("--enable-lora", "--lora-modules", *items)


@pytest.mark.parametrize(
    "text",
    ["a", "[1]", '{"name": "a"}', '{"name": "a", "path": "p", "x": 1}', '[{"name":"a","path":"p"},"a=q"]', "[{"],
)
def test_adapters_that_are_none_are_refused(text: str) -> None:
    """A parse failure must never load zero adapters in silence."""
    assert refused({"LORA_MODULES": text}) == ["LORA_MODULES"]


def test_an_adapter_called_like_the_model_is_refused() -> None:
    """No request could select either of them."""
    assert refused({"MODEL_NAME": "org/m", "LORA_MODULES": "org/m=o/a"}) == ["LORA_MODULES"]


@pytest.mark.parametrize(
    ("text", "limits"),
    [("image=1,video=0", {"image": 1, "video": 0}), ('{"image": 2}', {"image": 2}), ("image=3", {"image": 3})],
)
def test_multimodal_limits_become_json(text: str, limits: dict[str, int]) -> None:
    """Both spellings, one flag."""
    assert argument({"LIMIT_MM_PER_PROMPT": text}, "--limit-mm-per-prompt") == limits


@pytest.mark.parametrize(
    ("env", "keys"),
    [
        ({"NUM_SPECULATIVE_TOKENS": "4"}, ["NUM_SPECULATIVE_TOKENS"]),
        ({"SPECULATIVE_MODEL": "[ngram]"}, ["NUM_SPECULATIVE_TOKENS"]),
        (
            {"SPECULATIVE_MODEL": "d", "SPECULATIVE_DISABLE_BY_BATCH_SIZE": "4"},
            ["SPECULATIVE_DISABLE_BY_BATCH_SIZE"],
        ),
        (
            {"SPECULATIVE_MODEL": "d", "SPECULATIVE_DRAFT_TENSOR_PARALLEL_SIZE": "3", "TENSOR_PARALLEL_SIZE": "2"},
            ["SPECULATIVE_DRAFT_TENSOR_PARALLEL_SIZE"],
        ),
        ({"MAX_LORA_RANK": "1000"}, ["MAX_LORA_RANK"]),
        ({"MAX_LORAS": "4", "MAX_CPU_LORAS": "2", "ENABLE_LORA": "1"}, ["MAX_CPU_LORAS"]),
        ({"QUANTIZATION": "squeezellm"}, ["QUANTIZATION"]),
        ({"LOAD_FORMAT": "bitsandbytes"}, ["LOAD_FORMAT"]),
        ({"ENABLE_AUTO_TOOL_CHOICE": "1"}, ["ENABLE_AUTO_TOOL_CHOICE"]),
        ({"ENABLE_LOG_OUTPUTS": "1"}, ["ENABLE_LOG_OUTPUTS"]),
        ({"TOOL_CALL_PARSER": "hermess"}, ["TOOL_CALL_PARSER"]),
        ({"GUIDED_DECODING_BACKEND": "outline"}, ["GUIDED_DECODING_BACKEND"]),
        ({"TASK": "sing"}, ["TASK"]),
        (
            {"ENABLE_CHUNKED_PREFILL": "0", "MAX_NUM_BATCHED_TOKENS": "2k", "MAX_MODEL_LEN": "4k"},
            ["MAX_NUM_BATCHED_TOKENS"],
        ),
    ],
)
def test_what_vllm_would_refuse_late_is_refused_first(env: dict[str, str], keys: list[str]) -> None:
    """With the variable that has to change, not the flag it becomes."""
    assert refused(env) == keys


def test_a_word_that_only_newer_versions_dropped_is_not_called_removed() -> None:
    """vLLM 0.27.1 still has bitsandbytes: in capitals it is refused as misspelt there, and as removed by 0.32."""
    sentences = []
    for version in ("0.27.1", "0.32.0"):
        with pytest.raises(ConfigurationError) as raised:
            load({"LOAD_FORMAT": "BITSANDBYTES"}, HostFacts(vllm=version))
        sentences.append(str(raised.value))
    assert "write bitsandbytes" in sentences[0]
    assert "was removed from vLLM" in sentences[1]


@pytest.mark.parametrize(
    ("env", "arguments"),
    [
        (
            {"SPECULATIVE_CONFIG": '{"model": "d"}', "SPECULATIVE_MODEL": "e"},
            ("--speculative-config", '{"model":"d"}'),
        ),
        ({"DISABLE_LOG_REQUESTS": "0", "ENABLE_LOG_REQUESTS": "0"}, ()),
        (
            {"GUIDED_DECODING_BACKEND": "xgrammar", "STRUCTURED_OUTPUTS_CONFIG": '{"disable_any_whitespace": true}'},
            ("--structured-outputs-config", '{"disable_any_whitespace":true,"backend":"xgrammar"}'),
        ),
        ({"WORKER_USE_RAY": "1", "DISTRIBUTED_EXECUTOR_BACKEND": "mp"}, ("--distributed-executor-backend", "mp")),
        ({"VLLM_ATTENTION_BACKEND": "FLASH_ATTN"}, ("--attention-backend", "FLASH_ATTN")),
        ({"TASK": "embed"}, ("--convert", "embed", "--runner", "pooling")),
        ({"MODEL_REVISION": "a", "REVISION": "b"}, ("--revision", "a")),
        ({"MAX_MODEL_LEN": "0", "MAX_NUM_SEQS": "0", "NUM_GPU_BLOCKS_OVERRIDE": "0"}, ()),
        ({"MAX_MODEL_LEN": "auto"}, ("--max-model-len=-1",)),
    ],
)
def test_who_wins_and_what_zero_means(env: dict[str, str], arguments: tuple[str, ...]) -> None:
    """The more exact variable wins over the older one; a console's 0 is no value."""
    assert load(env).engine.arguments == arguments


def test_the_old_block_size_is_left_to_vllm() -> None:
    """Old forms send it, and some backends do not start with it; VLLM_EXTRA_ARGS can still set it."""
    settings = load({"MODEL_NAME": "m", "BLOCK_SIZE": "16"})
    assert settings.engine.arguments == ()
    assert settings.warnings == (
        "BLOCK_SIZE=16, the old default, is left to vLLM: not every attention backend supports it",
    )
    assert load({"VLLM_EXTRA_ARGS": "--block-size 16"}).engine.arguments == ("--block-size", "16")


def test_silent_statistics_keep_the_metrics() -> None:
    """vLLM's own flag removes both, in any layer; an interval of the operator's is kept."""
    for env in ({"DISABLE_LOG_STATS": "1"}, {"VLLM_EXTRA_ARGS": "--disable-log-stats"}):
        engine = load(env).engine
        assert (engine.arguments, engine.environment) == ((), {"VLLM_LOG_STATS_INTERVAL": "31536000"})
    both = {"DISABLE_LOG_STATS": "1", "VLLM_LOG_STATS_INTERVAL": "60"}
    assert load(both).engine.environment == {}
