"""Requests to the engine's routes, valid and not, from a seed: the same seed gives the same requests for ever."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]

TEXTS = ["abc", "hello", "Größe 漢字 🦜", '{"a": [1, 2]}', "x" * 40, "two words", "1 + 1 = 2", "line\nline"]


@dataclass(frozen=True, slots=True)
class Case:
    """One request; `why` says what is special about it."""

    route: str
    body: Body
    why: str

    @property
    def stream(self) -> bool:
        """Whether it asks for a stream."""
        return self.body.get("stream") is True

    def __str__(self) -> str:
        return f"{self.route} ({self.why}) {str(self.body)[:300]}"


def cases(seed: int, count: int, name: str) -> list[Case]:
    """`count` requests: two thirds valid, one third broken in one place."""
    dice = random.Random(seed)
    return [_case(dice, name) for _ in range(count)]


def _case(dice: random.Random, name: str) -> Case:
    route, make = dice.choice(ROUTES)
    body = make(dice)
    if dice.random() < 0.7 or route.startswith("/v1/messages"):
        body["model"] = name
    if dice.random() < 0.66:
        return Case(route, body, "valid")
    key, value = dice.choice(BROKEN)
    if key.endswith("logprobs") and route in IGNORE_LOGPROBS:
        return Case(route, body, "valid")
    if key == "-":
        body.pop(dice.choice(sorted(body.keys() - {"model", "temperature"})), None)
        return Case(route, body, "a field is missing")
    return Case(route, {**body, key: value}, f"{key}={value!r:.40}")


def _sampling(dice: random.Random) -> Body:
    """Deterministic, short, and any mixture of parameters that go together."""
    body: Body = {"temperature": 0, "max_tokens": dice.randint(1, 12)}
    options: list[Body] = [
        {"stop": dice.choice(["l", ["x", "b"], []])},
        {"seed": dice.randint(0, 9)},
        {"presence_penalty": 0.5, "frequency_penalty": -0.5},
        {"repetition_penalty": 1.1},
        {"ignore_eos": True},
        {"min_tokens": 1},
        {"top_p": 0.9, "top_k": 5, "min_p": 0.01},
        {"logit_bias": {"97": 5}},
        {"skip_special_tokens": False},
        {"include_stop_str_in_output": True},
        {"user": "somebody", "unknown_field": [1.0, None, "x"]},
        {"stop_token_ids": [98]},
        {"bad_words": ["zzz"]},
        {"return_token_ids": True},
        {"structured_outputs": {"choice": ["yes", "no"]}},
        {"truncate_prompt_tokens": 20},
        {"priority": 0},
    ]
    for option in dice.sample(options, dice.randint(0, 3)):
        body |= option
    if dice.random() < 0.4:
        body["stream"] = True
        if dice.random() < 0.5:
            body["stream_options"] = {"include_usage": dice.choice([True, False])}
    return body


def _messages(dice: random.Random) -> list[Body]:
    text = dice.choice(TEXTS)
    content: Any = text if dice.random() < 0.8 else [{"type": "text", "text": text}]
    messages = [{"role": "user", "content": content}]
    if dice.random() < 0.3:
        messages.insert(0, {"role": "system", "content": "Repeat."})
    if dice.random() < 0.2:
        messages[:0] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}]
    return messages


def _chat(dice: random.Random) -> Body:
    body = {**_sampling(dice), "messages": _messages(dice)}
    extra: list[Body] = [
        {"logprobs": True, "top_logprobs": 2},
        {"max_completion_tokens": 3},
        {"response_format": {"type": "json_object"}},
        {"add_generation_prompt": True},
        {"echo": True},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
        {"tool_choice": "none"},
        {"n": 2},
    ]
    for option in dice.sample(extra, dice.randint(0, 1)):
        body |= option
    return body


def _completion(dice: random.Random) -> Body:
    prompt: Any = dice.choice([dice.choice(TEXTS), [dice.choice(TEXTS), "b"], [97, 98, 99], [[97], [98, 99]]])
    body = {**_sampling(dice), "prompt": prompt}
    extra: list[Body] = [{"logprobs": 1}, {"echo": True}, {"n": 2}, {"suffix": None}, {"add_special_tokens": False}]
    for option in dice.sample(extra, dice.randint(0, 1)):
        body |= option
    return body


def _response(dice: random.Random) -> Body:
    body: Body = {"input": dice.choice([dice.choice(TEXTS), _messages(dice)]), "temperature": 0}
    body["max_output_tokens"] = dice.randint(1, 12)
    if dice.random() < 0.4:
        body["stream"] = True
    return body


def _anthropic(dice: random.Random) -> Body:
    body: Body = {
        "messages": _messages(dice)[-1:],
        "max_tokens": dice.randint(1, 12),
        "temperature": 0,
    }
    if dice.random() < 0.4:
        body["stream"] = True
    if dice.random() < 0.3:
        body["stop_sequences"] = ["l"]
    return body


def _count(dice: random.Random) -> Body:
    return {"messages": _messages(dice)[-1:]}


def _tokenize(dice: random.Random) -> Body:
    if dice.random() < 0.5:
        return {"messages": _messages(dice), "add_generation_prompt": dice.choice([True, False])}
    return {"prompt": dice.choice(TEXTS), "return_token_strs": dice.choice([True, False])}


def _detokenize(dice: random.Random) -> Body:
    return {"tokens": [dice.randint(32, 126) for _ in range(dice.randint(0, 9))]}


ROUTES: list[tuple[str, Callable[[random.Random], Body]]] = [
    *[("/v1/chat/completions", _chat)] * 5,
    *[("/v1/completions", _completion)] * 5,
    *[("/v1/responses", _response)] * 2,
    *[("/v1/messages", _anthropic)] * 2,
    ("/v1/messages/count_tokens", _count),
    ("/tokenize", _tokenize),
    ("/detokenize", _detokenize),
]

# Routes that ignore how many log-probabilities are asked for. The worker's limits (MAX_LOGPROBS) hold on every route.
IGNORE_LOGPROBS = ("/v1/messages/count_tokens", "/tokenize", "/detokenize")
# what breaks a request, wherever it stands; "-" takes a field away
BROKEN: list[tuple[str, Any]] = [
    *[("-", None)] * 4,
    ("model", "nobody"),
    ("model", 7),
    ("messages", []),
    ("messages", 7),
    ("messages", [{"content": "no role"}]),
    ("messages", [{"role": "user"}]),
    ("prompt", []),
    ("prompt", {"a": 1}),
    ("prompt", [-1]),
    ("prompt", [10**9]),
    ("input", 7),
    ("tokens", ["a"]),
    ("temperature", 3),
    ("temperature", "warm"),
    ("temperature", -1),
    ("top_p", 0),
    ("top_p", 1.5),
    ("top_k", -7),
    ("min_p", 2),
    ("n", 0),
    ("n", "many"),
    ("max_tokens", 0),
    ("max_tokens", -1),
    ("max_tokens", 10**7),
    ("max_tokens", "x"),
    ("min_tokens", 10**6),
    ("presence_penalty", 9),
    ("repetition_penalty", -1),
    ("logprobs", 99),
    ("top_logprobs", -1),
    ("stop", 7),
    ("stop", [""]),
    ("stop_token_ids", ["a"]),
    ("logit_bias", {"x": 1}),
    ("logit_bias", {"999999": 1}),
    ("bad_words", 3),
    ("stream", "perhaps"),
    ("stream_options", {"include_usage": True}),
    ("seed", 2**70),
    ("response_format", {"type": "nonsense"}),
    ("structured_outputs", {"regex": "("}),
    ("structured_outputs", {"json": {}, "choice": ["a"]}),
    ("tool_choice", "nonsense"),
    ("tools", [{"type": "function"}]),
    ("chat_template_kwargs", "nonsense"),
    ("truncate_prompt_tokens", -5),
    ("use_beam_search", True),
    ("prompt_logprobs", 1),
    ("allowed_token_ids", []),
    ("cache_salt", ""),
    ("max_output_tokens", 0),
    ("stop_sequences", "l"),
]
