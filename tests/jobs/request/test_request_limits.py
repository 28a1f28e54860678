"""The limits of one request, in every form of request."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from worker_vllm.jobs.request.grammar_size import GrammarSize, measure, pattern_alternatives, text_depth
from worker_vllm.jobs.request.request_limits import find_exceeded_limit
from worker_vllm.settings.types import RequestLimits

LIMITS = RequestLimits(
    schema_bytes=20_000, schema_depth=20, schema_alternatives=100, n=8, prompts=10, sequences=20, stop=4, inputs=30
)
NONE = RequestLimits(0, 0, 0, 0, 0, 0, 0, 0)
WORDS = [f"word {number}" for number in range(101)]
LONG = {"description": "x" * 20_000}


def nested(depth: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


def tool(schema: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": schema}}


# Every way in by which a schema reaches the engine.
WAYS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "guided": lambda schema: {"guided_json": schema},
    "guided text": lambda schema: {"guided_json": json.dumps(schema)},
    "nested guided": lambda schema: {"guided_decoding": {"json": schema}},
    "structured": lambda schema: {"structured_outputs": {"json": schema}},
    "structured text": lambda schema: {"structured_outputs": {"json": json.dumps(schema)}},
    "structural tag": lambda schema: {
        "structured_outputs": {"structural_tag": json.dumps({"structures": [{"begin": "<f>", "schema": schema}]})}
    },
    "response format": lambda schema: {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    },
    "tools": lambda schema: {"tools": [tool(schema)]},
    "functions": lambda schema: {"functions": [{"name": "f", "parameters": schema}]},
    "responses": lambda schema: {"text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}},
    "responses tools": lambda schema: {"tools": [{"type": "function", "name": "f", "parameters": schema}]},
    "anthropic tools": lambda schema: {"tools": [{"name": "f", "input_schema": schema}]},
    "anthropic": lambda schema: {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
}
BOMBS: dict[str, tuple[Any, str]] = {
    "constants": ({"enum": WORDS}, "MAX_SCHEMA_ALTERNATIVES"),
    "alternatives": ({"anyOf": [{"const": word} for word in WORDS]}, "MAX_SCHEMA_ALTERNATIVES"),
    "properties": ({"properties": {word: {} for word in WORDS}}, "MAX_SCHEMA_ALTERNATIVES"),
    "definitions": ({"$defs": {word: {} for word in WORDS}}, "MAX_SCHEMA_ALTERNATIVES"),
    "a pattern": ({"pattern": "|".join("a" * 101)}, "MAX_SCHEMA_ALTERNATIVES"),
    "repetition": ({"pattern": "(ab){1,1000}"}, "MAX_SCHEMA_ALTERNATIVES"),
    "bytes": (LONG, "MAX_SCHEMA_BYTES"),
    "a long constant": ({"const": "x" * 5100}, "MAX_SCHEMA_ALTERNATIVES"),
    "depth": (nested(20), "MAX_SCHEMA_DEPTH"),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("way", WAYS)
def test_a_schema_is_bounded_on_every_way_in(way: str, bomb: str) -> None:
    schema, variable = BOMBS[bomb]
    body = WAYS[way](schema)
    found = find_exceeded_limit(body, LIMITS)
    assert found is not None
    assert (found.variable, found.param) == (variable, next(iter(body)))
    assert find_exceeded_limit(body, NONE) is None
    assert (
        find_exceeded_limit(WAYS[way]({"type": "object", "properties": {"a": {"enum": WORDS[:90]}}}), LIMITS) is None
    )


@pytest.mark.parametrize(
    ("body", "param", "variable"),
    [
        ({"guided_choice": WORDS}, "guided_choice", "MAX_SCHEMA_ALTERNATIVES"),
        ({"structured_outputs": {"choice": WORDS}}, "structured_outputs", "MAX_SCHEMA_ALTERNATIVES"),
        ({"guided_regex": "a|" * 101}, "guided_regex", "MAX_SCHEMA_ALTERNATIVES"),
        ({"structured_outputs": {"regex": "((a{1,9}){1,9}){1,9}"}}, "structured_outputs", "MAX_SCHEMA_ALTERNATIVES"),
        ({"guided_grammar": "root ::= " + '"a" | ' * 101}, "guided_grammar", "MAX_SCHEMA_ALTERNATIVES"),
        ({"guided_grammar": "a ::= b\n" * 101}, "guided_grammar", "MAX_SCHEMA_ALTERNATIVES"),
        ({"guided_regex": "x" * 5100}, "guided_regex", "MAX_SCHEMA_ALTERNATIVES"),
        ({"guided_json": "x" * 20_001}, "guided_json", "MAX_SCHEMA_BYTES"),
        ({"tools": [tool({})] * 101}, "tools", "MAX_SCHEMA_ALTERNATIVES"),
        (
            {"tools": [tool({"enum": WORDS[:60]})], "guided_choice": WORDS[:60]},
            "guided_choice",
            "MAX_SCHEMA_ALTERNATIVES",
        ),
        ({"n": 9}, "n", "MAX_N"),
        ({"best_of": 9.0}, "best_of", "MAX_N"),
        ({"n": 10**5000}, "n", "MAX_N"),
        ({"n": float("inf")}, "n", "MAX_N"),
        ({"prompt": ["a"] * 11}, "prompt", "MAX_PROMPTS"),
        ({"prompt": [[1]] * 11}, "prompt", "MAX_PROMPTS"),
        ({"messages": [[{}]] * 11}, "messages", "MAX_PROMPTS"),
        ({"prompt": ["a"] * 5, "n": 5}, "n", "MAX_SEQUENCES"),
        ({"stop": ["a"] * 5}, "stop", "MAX_STOP"),
        ({"stop_sequences": ["a"] * 5}, "stop_sequences", "MAX_STOP"),
        ({"input": ["a"] * 31}, "input", "MAX_INPUTS"),
        ({"documents": ["a"] * 31}, "documents", "MAX_INPUTS"),
    ],
)
def test_everything_else_that_multiplies_is_bounded(body: dict[str, Any], param: str, variable: str) -> None:
    found = find_exceeded_limit(body, LIMITS)
    assert found is not None
    assert (found.param, found.variable) == (param, variable)
    assert find_exceeded_limit(body, NONE) is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"n": float("nan"), "best_of": -(10**5000), "prompt": [], "stop": None},
        {"n": 8, "best_of": 8, "stop": ["a"] * 4, "logprobs": 5, "prompt": ["a"] * 2},
        {"prompt": [1] * 10_000, "input": [1] * 10_000},
        {"prompt": "a" * 100_000, "messages": [{"role": "user", "content": "a" * 100_000}]},
        {"text": "a" * 100_000, "stop": "a" * 10_000, "n": "many", "logprobs": True},
        {"structured_outputs": {"regex": r"\d{1,3}(\.\d{1,3}){3}|[0-9a-f]{8}(-[0-9a-f]{4}){3}|\{1,999\}|[{|(]{2}"}},
        {"structured_outputs": {"json": "{not json"}, "tools": [], "response_format": None, "tool_choice": "auto"},
        {"tools": [tool({"properties": {"a": {}}, "required": WORDS})]},
        {"tools": [tool({"properties": {"a": {"description": "a | b {1,999} " * 100}}})]},
    ],
)
def test_usual_requests_pass(body: dict[str, Any]) -> None:
    assert find_exceeded_limit(body, LIMITS) is None


def test_a_refusal_states_what_got_expected_and_which_variable() -> None:
    assert str(find_exceeded_limit({"n": 9}, LIMITS)) == (
        "n: sequences of a prompt: expected at most 8, got 9; ask for less, or raise the endpoint's MAX_N"
    )
    assert str(find_exceeded_limit({"guided_choice": WORDS}, LIMITS)) == (
        "guided_choice: constants, alternatives, properties and tools: expected at most 100, got 101 or more; ask "
        "for less, or raise the endpoint's MAX_SCHEMA_ALTERNATIVES"
    )


@pytest.mark.parametrize("way", ["structured", "tools", "response format"])
def test_a_value_of_any_depth_is_walked_without_recursion(way: str) -> None:
    deep: Any = "x"
    for _ in range(50_000):
        deep = {"not": deep}
    found = find_exceeded_limit(WAYS[way](deep), LIMITS)
    assert found is not None
    assert found.variable == "MAX_SCHEMA_DEPTH"
    assert find_exceeded_limit(WAYS[way](deep), NONE) is None


def test_a_text_of_any_depth_is_measured_without_reading_it() -> None:
    found = find_exceeded_limit({"guided_json": "[" * 2000}, LIMITS)
    assert found is not None
    assert found.variable == "MAX_SCHEMA_DEPTH"
    assert find_exceeded_limit({"guided_json": "[" * 2000}, NONE) is None
    assert text_depth('{"a": "[[[\\"[[", "b": [[]]}') == 3


def test_the_walk_ends_at_the_limit() -> None:
    """The limits bound the cost of the check, not the request."""
    size = GrammarSize()
    began = time.process_time()
    measure("json", {"anyOf": [{"const": word} for word in WORDS] * 20_000}, size, LIMITS)
    assert time.process_time() - began < 5
    assert size.cut
    seen = size.bytes
    measure("json", {f"a{number}": {"b": "c" * 50} for number in range(10)}, size, LIMITS)
    assert size.bytes < seen + 1000


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("a|b", 2),
        (r"a\|b[|]", 1),
        ("a{3}", 4),
        ("a{2,}", 3),
        ("a{,5}", 6),
        ("(a|b){3}", 10),
        ("((a{10}){10}){10}", 1111),
        ("(ab-cd-ef){1,1000}", 8001),
        ("()ab{3}", 4),
        ("a{99999999999999999999}", 1_000_000_001),
        ('root ::= "a" | "b"\nb ::= "c"', 4),
        (")))(((", 1),
    ],
)
def test_the_alternatives_of_a_pattern(text: str, count: int) -> None:
    assert pattern_alternatives(text) == count


@pytest.mark.parametrize(("count", "alternatives"), [(10, 11), (100, 123), (1000, 2157)])
def test_an_object_of_many_properties_counts_more_than_it_has(count: int, alternatives: int) -> None:
    """The engine's grammar of optional properties grows with more than their number."""
    size = GrammarSize()
    measure("json", {"properties": {f"a{number}": {} for number in range(count)}}, size, NONE)
    assert size.alternatives == alternatives
