"""Requests that cost the engine more than they look: each kind in growing sizes, every one with words of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Make = Callable[[int], tuple[str, dict[str, Any]]]
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
COUNTS = (100, 300, 1000, 2000, 3000)
DEPTHS = (8, 16, 24, 32, 128)
REPEATS = (100, 1000, 10_000, 100_000, 1_000_000)
_series = itertools.count()


def _completion(**fields: Any) -> tuple[str, dict[str, Any]]:
    return COMPLETIONS, {"model": "parrot", "prompt": "x", "max_tokens": 4, "temperature": 0, **fields}


def _chat(**fields: Any) -> tuple[str, dict[str, Any]]:
    messages = [{"role": "user", "content": "x"}]
    return CHAT, {"model": "parrot", "messages": messages, "max_tokens": 4, "temperature": 0, **fields}


def _words(count: int) -> list[str]:
    series = next(_series)
    return [f"word-{series}-{number}" for number in range(count)]


def _json(schema: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return _completion(structured_outputs={"json": schema})


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for word in _words(depth):
        schema = {"type": "object", "properties": {word: schema}, "required": [word]}
    return schema


def _properties(count: int) -> dict[str, Any]:
    words = _words(count)
    return {"type": "object", "properties": {word: {"type": "integer"} for word in words}, "required": words}


def _optional(count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {word: {"type": "integer"} for word in _words(count)}}


def _tools(count: int) -> tuple[str, dict[str, Any]]:
    tools = [{"type": "function", "function": {"name": word, "parameters": _properties(3)}} for word in _words(count)]
    return _chat(tools=tools, tool_choice="required")


def _alternation(count: int) -> str:
    return "|".join(_words(count))


def _ebnf(count: int) -> str:
    return "root ::= " + " | ".join(f'"{word}"' for word in _words(count))


def _rules(count: int) -> str:
    names = [word.replace("-", "_") for word in _words(count)]
    rules = [f'{name} ::= "{name}" | {after}' for name, after in itertools.pairwise(names)]
    return "\n".join([f"root ::= {names[0]}", *rules, f'{names[-1]} ::= "end"'])


KINDS: Mapping[str, tuple[Sequence[int], Make]] = {
    "enum": (COUNTS, lambda size: _json({"enum": _words(size)})),
    "anyOf": (COUNTS, lambda size: _json({"anyOf": [{"const": word} for word in _words(size)]})),
    "properties": (COUNTS, lambda size: _json(_properties(size))),
    "optional": (COUNTS, lambda size: _json(_optional(size))),
    "depth": (DEPTHS, lambda size: _json(_nested(size))),
    "long const": (REPEATS, lambda size: _json({"const": _words(1)[0] + "x" * size})),
    "description": (REPEATS, lambda size: _json({"type": "string", "description": _words(1)[0] + "x" * size})),
    "minItems": (REPEATS, lambda size: _json({"type": "array", "items": {"const": _words(1)[0]}, "minItems": size})),
    "maxLength": (REPEATS, lambda size: _json({"type": "string", "maxLength": size, "title": _words(1)[0]})),
    "pattern": (
        (100, 200, 400, 700, 1000),
        lambda size: _json({"type": "string", "pattern": f"^({_words(1)[0]}){{1,{size}}}$"}),
    ),
    "choice": (COUNTS, lambda size: _completion(structured_outputs={"choice": _words(size)})),
    "regex": (COUNTS, lambda size: _completion(structured_outputs={"regex": _alternation(size)})),
    "regex repeat": (
        REPEATS,
        lambda size: _completion(structured_outputs={"regex": f"({_words(1)[0]}[a-z]+){{1,{size}}}"}),
    ),
    "grammar": (COUNTS, lambda size: _completion(structured_outputs={"grammar": _ebnf(size)})),
    "grammar rules": (COUNTS, lambda size: _completion(structured_outputs={"grammar": _rules(size)})),
    "tools": ((10, 30, 100, 300, 1000, 3000), _tools),
    "tools auto": (
        (10, 30, 100, 300, 1000, 3000),
        lambda size: (CHAT, {**_tools(size)[1], "tool_choice": "auto"}),
    ),
    "n": ((4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16_384), lambda size: _completion(n=size, temperature=1)),
    "prompts": ((4, 16, 64, 128, 256, 512, 1024), lambda size: _completion(prompt=_words(size))),
    "logprobs": ((1, 5, 20), lambda size: _completion(logprobs=size, prompt="x" * 1000, max_tokens=200)),
    "prompt_logprobs": ((1, 5, 20), lambda size: _completion(prompt_logprobs=size, prompt="x" * 1500)),
    "stop": ((4, 16, 64, 256, 1024), lambda size: _completion(stop=_words(size), max_tokens=200, ignore_eos=True)),
    "logit_bias": ((100, 259), lambda size: _completion(logit_bias={str(token): 1 for token in range(size)})),
}
