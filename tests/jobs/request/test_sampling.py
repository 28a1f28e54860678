"""Native sampling parameters are passed on, translated or refused, never ignored."""

from __future__ import annotations

from typing import Any

import pytest

from worker_vllm.errors import RequestError
from worker_vllm.jobs.request.sampling import SPECIFIED_DEFAULTS, parse_sampling
from worker_vllm.settings.types import JobSettings

DEFAULTS = {**SPECIFIED_DEFAULTS, "max_tokens": 16}

# the specification's table, value by value as a job may set it, and what the engine is sent on top of the defaults
SPECIFIED: list[tuple[str, Any, dict[str, Any]]] = [
    ("n", 2, {"n": 2}),
    ("best_of", 1, {}),
    ("presence_penalty", 0.5, {"presence_penalty": 0.5}),
    ("frequency_penalty", -0.5, {"frequency_penalty": -0.5}),
    ("repetition_penalty", 1.2, {"repetition_penalty": 1.2}),
    ("temperature", 0, {"temperature": 0}),
    ("top_p", 0.9, {"top_p": 0.9}),
    ("top_k", 40, {"top_k": 40}),
    ("min_p", 0.1, {"min_p": 0.1}),
    ("use_beam_search", False, {"use_beam_search": False}),
    ("length_penalty", 1.0, {"length_penalty": 1.0}),
    ("early_stopping", False, {}),
    ("stop", ["a", "b", "c", "d", "e"], {"stop": ["a", "b", "c", "d", "e"]}),
    ("stop", "a", {"stop": "a"}),
    ("stop_token_ids", [1], {"stop_token_ids": [1], "include_stop_str_in_output": True}),
    ("ignore_eos", True, {"ignore_eos": True}),
    ("max_tokens", 100, {"max_tokens": 100}),
    ("skip_special_tokens", False, {"skip_special_tokens": False}),
    ("spaces_between_special_tokens", False, {"spaces_between_special_tokens": False}),
]
# undocumented, and worked in the original all the same
ORIGINAL: list[tuple[str, Any, dict[str, Any]]] = [
    ("seed", 7, {"seed": 7}),
    ("min_tokens", 3, {"min_tokens": 3}),
    ("logprobs", 0, {"logprobs": 0}),
    ("prompt_logprobs", 1, {"prompt_logprobs": 1}),
    ("include_stop_str_in_output", True, {"include_stop_str_in_output": True}),
    ("truncate_prompt_tokens", 5, {"truncate_prompt_tokens": 5}),
    ("logit_bias", {"5": 1.0}, {"logit_bias": {"5": 1.0}}),
    ("allowed_token_ids", [1, 2], {"allowed_token_ids": [1, 2]}),
    ("bad_words", ["x"], {"bad_words": ["x"]}),
    ("detokenize", True, {}),
    ("guided_decoding", {"regex": "a+", "json": None}, {"structured_outputs": {"regex": "a+"}}),
    ("guided_choice", ["a"], {"structured_outputs": {"choice": ["a"]}}),
]


@pytest.mark.parametrize(("name", "value", "sent"), [*SPECIFIED, *ORIGINAL], ids=lambda value: str(value)[:30])
def test_a_parameter_reaches_the_engine(name: str, value: Any, sent: dict[str, Any]) -> None:
    sampling = parse_sampling({name: value}, JobSettings())
    assert sampling.fields == DEFAULTS | sent
    assert sampling.n == sent.get("n", 1)


@pytest.mark.parametrize("name", [row[0] for row in [*SPECIFIED, *ORIGINAL]])
def test_null_means_unset(name: str) -> None:
    assert parse_sampling({name: None}, JobSettings()).fields == DEFAULTS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temprature": 1}, "sampling_params.temprature: not a sampling parameter; did you mean temperature?"),
        ({"max_token": 1}, "sampling_params.max_token: not a sampling parameter; did you mean max_tokens?"),
        ({"Top_P": 1}, "sampling_params.Top_P: not a sampling parameter; did you mean top_p?"),
        ({"zzz": 1}, "sampling_params.zzz: not a sampling parameter"),
        ([], "sampling_params: expected an object, got list"),
        ({"n": 0}, "n: expected a whole number, 1 or more, got 0"),
        ({"best_of": 1, "n": 2}, "best_of: expected n=2 or more, got 1"),
        ({"detokenize": False}, "detokenize: this endpoint always answers with text; use /v1/completions with "
         "return_token_ids"),
        ({"length_penalty": 2.0}, "length_penalty: works with use_beam_search only"),
        ({"use_beam_search": True, "top_p": 0.5}, "top_p: a beam search does not obey it; leave it out"),
        ({"use_beam_search": True, "stop": ["a"]}, "stop: a beam search does not obey it; leave it out"),
        (
            {"use_beam_search": True, "early_stopping": True},
            "early_stopping: expected false, got True; this engine's beam search always runs to its end",
        ),
        (
            {"use_beam_search": True, "n": 11},
            "best_of: a beam search of width 11 needs 22 log-probabilities a token and this endpoint allows 20; ask "
            "for at most 10 beams, or raise MAX_LOGPROBS",
        ),
        (
            {"guided_decoding": {"json": {}, "backend": "outlines"}},
            "guided_decoding_backend: a request cannot choose the backend any more; leave it out, or set the "
            "endpoint's GUIDED_DECODING_BACKEND",
        ),
        ({"guided_decoding": "x"}, "guided_decoding: expected an object, got str"),
    ],
)  # fmt: skip
def test_what_cannot_be_obeyed_is_refused_with_what_to_do(given: Any, message: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse_sampling(given, JobSettings())
    assert (refused.value.message, refused.value.status) == (message, 400)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"stop_token_ids": [1], "include_stop_str_in_output": False}, False),
        ({"stop_token_ids": [1], "stop": ["a"]}, None),
    ],
)
def test_a_stop_token_stays_in_the_text_unless_stop_texts_are_to_be_trimmed(
    given: dict[str, Any], kept: bool | None
) -> None:
    assert parse_sampling(given, JobSettings()).fields.get("include_stop_str_in_output") is kept


def test_a_beam_search_sends_its_width_and_no_sampling_defaults() -> None:
    """The engine's beam search reads neither top_p nor the penalties, so they are not sent."""
    given = {"use_beam_search": True, "best_of": 3, "length_penalty": 0.8, "top_p": 1.0, "temperature": 0.0}
    sampling = parse_sampling(given, JobSettings())
    assert sampling.fields == {
        "use_beam_search": True,
        "n": 3,
        "length_penalty": 0.8,
        "top_p": 1.0,
        "temperature": 0.0,
        "max_tokens": 16,
    }
    assert sampling.n == 1


def test_unlimited_log_probabilities_allow_any_width() -> None:
    sampling = parse_sampling({"use_beam_search": True, "n": 50}, JobSettings(max_logprobs=-1))
    assert sampling.n == 50
