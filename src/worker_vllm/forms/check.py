"""Validation of a worker-config.json: the shipped JSON Schema, and the references that a schema cannot express."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from worker_vllm.settings.redaction import Redactor, looks_secret, secrets_of

SCHEMA = Path(__file__).with_name("worker-config.schema.json")
TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "number": "a number",
    "object": "an object",
    "string": "a text",
}

Place = tuple[str | int, ...]


def check_form(document: Any) -> list[str]:
    """One sentence with its place for each error of a form; empty for a valid one. Secret defaults are not quoted."""
    validator = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    # An error that two branches of the schema report is kept once, from the more specific branch.
    errors = {(tuple(error.absolute_path), error.validator): error for error in validator.iter_errors(document)}
    broken = {place[:2] for place, _ in errors}
    ordered = sorted(errors.items(), key=lambda item: _position(document, item[0][0]))
    found = [sentence for (place, _), error in ordered for sentence in _sentences(place, error)]
    if not broken & {(), ("schema",), ("versions",)}:
        found += _reference_errors(document, broken)
    redact = _redactor(document)
    return [redact(sentence) for sentence in found]


def _position(document: Any, place: Place) -> list[int]:
    """Where a place is in the document, as a sort key: the index of each part in what contains it."""
    position = []
    for part in place:
        position.append(part if isinstance(part, int) else list(document).index(part))
        document = document[part]
    return position


def _redactor(document: Any) -> Redactor:
    schema = document.get("schema") if isinstance(document, Mapping) else None
    fields = schema.items() if isinstance(schema, Mapping) else ()
    values = {str(key): str(field.get("value")) for key, field in fields if isinstance(field, Mapping)}
    return Redactor(secrets_of(values, filter(looks_secret, values)))


def _sentences(place: Place, error: ValidationError) -> Iterator[str]:
    """The sentences of one schema error: one for each unknown member, else one."""
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        for name in error.instance:
            if name not in known:
                yield f"{_path((*place, name))}: expected only {', '.join(known)}"
    elif error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        yield f"{_path(place)}: expected {', '.join(missing)}"
    elif isinstance(error.instance, list | dict):
        yield f"{_path(place)}: expected {_expectation(error)}"
    else:
        yield f"{_path(place)}: got {error.instance!r}, expected {_expectation(error)}"


def _expectation(error: ValidationError) -> str:
    """What belongs there: the schema's own description, else the types or values that it allows."""
    if described := error.schema.get("description"):
        return str(described)
    allowed = error.validator_value
    if error.validator == "enum":
        return f"one of {', '.join(map(str, allowed))}"
    return ", ".join(TYPES[name] for name in ([allowed] if isinstance(allowed, str) else allowed))


def _path(place: Iterable[str | int]) -> str:
    """A place as text, such as schema.DTYPE.options[6]."""
    parts = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return parts.removeprefix(".") or "the file"


def _reference_errors(document: Mapping[str, Any], broken: set[Place]) -> Iterator[str]:
    """Names that must agree with another part of the file; parts that the schema refuses are left out."""
    fields, versions = document["schema"], document["versions"]
    for key, field in fields.items():
        if ("schema", key) in broken:
            continue
        if field["env_var_name"] != key:
            yield f"schema.{key}.env_var_name: got {field['env_var_name']!r}, expected {key!r}"
        options = [option["value"] for option in field.get("options", ())]
        if options and str(field["value"]) not in options:
            yield f"schema.{key}.value: got {field['value']!r}, expected one of the options"
    for version, entry in versions.items():
        if ("versions", version) in broken:
            continue
        for index, category in enumerate(entry["categories"]):
            place = f"versions.{version}.categories[{index}].settings"
            yield from (
                f"{place}: {name!r} is not in the schema" for name in category["settings"] if name not in fields
            )
