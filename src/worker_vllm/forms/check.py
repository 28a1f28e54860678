"""Whether a worker-config.json is one: every mistake as one sentence with its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from worker_vllm.settings.redaction import Redactor, looks_secret, secrets_of

FIELD = {
    "env_var_name": str,
    "value": (str, int, float, bool),
    "title": str,
    "description": str,
    "required": bool,
    "type": str,
}
TYPES = ("text", "number", "toggle", "select")
VERSION = {"imageName": str, "minimumCudaVersion": str, "categories": list}


def check_form(document: Any) -> list[str]:
    """What is wrong with a form; empty when nothing is. A secret's default is not quoted."""
    redact = _redactor(document)
    return [redact(problem) for problem in _problems(document)]


def _redactor(document: Any) -> Redactor:
    schema = document.get("schema") if isinstance(document, Mapping) else None
    fields = schema.items() if isinstance(schema, Mapping) else ()
    values = {str(key): str(field.get("value")) for key, field in fields if isinstance(field, Mapping)}
    return Redactor(secrets_of(values, filter(looks_secret, values)))


def _problems(document: Any) -> list[str]:
    if not isinstance(document, Mapping):
        return ["the file: expected an object with schema and versions"]
    problems = [
        f"{name}: expected an object" for name in ("schema", "versions") if not _is_object(document.get(name))
    ]
    problems += [
        f"{name}: expected only schema and versions" for name in document if name not in ("schema", "versions")
    ]
    if problems:
        return problems
    for key, field in document["schema"].items():
        problems += _field(key, field)
    for version, entry in document["versions"].items():
        problems += _version(f"versions.{version}", entry, document["schema"])
    return problems


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _members(place: str, value: Any, wanted: Mapping[str, Any]) -> list[str]:
    """Missing, misnamed and mistyped members of an object."""
    if not _is_object(value):
        return [f"{place}: expected an object"]
    problems = []
    for name, kind in wanted.items():
        if name not in value:
            problems.append(f"{place}: expected {name}")
        elif not isinstance(value[name], kind) or (
            isinstance(value[name], bool) and kind is not bool and name != "value"
        ):
            problems.append(f"{place}.{name}: got {value[name]!r}, expected {_words(kind)}")
    return problems


def _words(kind: Any) -> str:
    names = {str: "a text", bool: "true or false", list: "a list"}
    return names.get(kind, "a text, a number, true or false")


def _field(key: str, field: Any) -> list[str]:
    place = f"schema.{key}"
    problems = _members(place, field, FIELD)
    if problems:
        return problems
    if field["env_var_name"] != key:
        problems.append(f"{place}.env_var_name: got {field['env_var_name']!r}, expected {key!r}")
    extra = [name for name in field if name not in (*FIELD, "options")]
    problems += [f"{place}.{name}: expected only {', '.join(FIELD)}, options" for name in extra]
    if field["type"] not in TYPES:
        return [*problems, f"{place}.type: got {field['type']!r}, expected one of {', '.join(TYPES)}"]
    if (field["type"] == "select") != ("options" in field):
        problems.append(f"{place}.options: expected with a select, and only there")
    rule: Callable[[str, Mapping[str, Any]], list[str]] = {
        "toggle": _toggle,
        "number": _number,
        "select": _select,
        "text": _text,
    }[field["type"]]
    return problems + rule(place, field)


def _toggle(place: str, field: Mapping[str, Any]) -> list[str]:
    fine = isinstance(field["value"], bool)
    return [] if fine else [f"{place}.value: got {field['value']!r}, expected true or false"]


def _number(place: str, field: Mapping[str, Any]) -> list[str]:
    value = field["value"]
    if value == "" or (isinstance(value, int | float) and not isinstance(value, bool)):
        return []
    try:
        float(value)
    except (TypeError, ValueError):
        return [f"{place}.value: got {value!r}, expected a number or an empty text"]
    return [] if isinstance(value, str) else [f"{place}.value: got {value!r}, expected a number or an empty text"]


def _text(place: str, field: Mapping[str, Any]) -> list[str]:
    return [] if isinstance(field["value"], str) else [f"{place}.value: got {field['value']!r}, expected a text"]


def _select(place: str, field: Mapping[str, Any]) -> list[str]:
    options = field.get("options")
    if not isinstance(options, list) or not options:
        return [f"{place}.options: expected a list with at least one option"]
    problems = [
        f"{place}.options[{index}]: expected an object of two texts, value and label"
        for index, option in enumerate(options)
        if not _is_object(option)
        or set(option) != {"value", "label"}
        or not all(isinstance(v, str) for v in option.values())
    ]
    if not problems and str(field["value"]) not in [option["value"] for option in options]:
        problems.append(f"{place}.value: got {field['value']!r}, expected one of the options")
    return problems


def _version(place: str, entry: Any, schema: Mapping[str, Any]) -> list[str]:
    problems = _members(place, entry, VERSION)
    if problems:
        return problems
    for index, category in enumerate(entry["categories"]):
        inner = f"{place}.categories[{index}]"
        wrong = _members(inner, category, {"title": str, "settings": list})
        problems += wrong or [
            f"{inner}.settings: {name!r} is not in the schema" for name in category["settings"] if name not in schema
        ]
    return problems
