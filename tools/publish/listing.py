"""Validation of the Hub's files in .runpod/: the fields and types of RunPod's publishing guide."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NEEDED = ("handler.py", "Dockerfile", "README.md")  # in .runpod/ or in the root; .runpod/ wins
CATEGORIES = ("audio", "embedding", "language", "video", "image")
INPUTS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "huggingface": (str,),
}


def problems(root: Path) -> list[str]:
    """One sentence for each error of the listing; empty for a complete one."""
    found = [
        f"{name} is in neither .runpod/ nor the root"
        for name in NEEDED
        if not (root / ".runpod" / name).is_file() and not (root / name).is_file()
    ]
    for name, check in (("hub.json", _hub), ("load-balancer.json", _load_balancer), ("tests.json", _tests)):
        try:
            document = json.loads((root / ".runpod" / name).read_text(encoding="utf-8"))
        except OSError:
            found.append(f".runpod/{name} is missing")
        except ValueError as error:
            found.append(f".runpod/{name} is not JSON: {error}")
        else:
            found += [f".runpod/{name}: {problem}" for problem in check(document)]
    return found


def _hub(document: Mapping[str, Any]) -> Iterator[str]:
    yield from _texts(document, "title", "description", "type", "category")
    if document.get("category") not in CATEGORIES:
        yield f"category is {document.get('category')!r}, expected one of {', '.join(CATEGORIES)}"
    config = document.get("config")
    if not isinstance(config, dict):
        yield "config is missing"
        return
    if config.get("runsOn") not in ("GPU", "CPU"):
        yield f"config.runsOn is {config.get('runsOn')!r}, expected GPU or CPU"
    if config.get("runsOn") == "GPU" and (not isinstance(config.get("gpuIds"), str) or " " in config["gpuIds"]):
        yield "config.gpuIds is not a comma list without spaces"
    for name in ("containerDiskInGb", "gpuCount"):
        if not isinstance(config.get(name), int):
            yield f"config.{name} is not a whole number"
    keys = [entry.get("key") for entry in config.get("env", ())]
    yield from (f"config.env has {key} twice" for key in sorted({key for key in keys if keys.count(key) > 1}))
    for entry in config.get("env", ()):
        yield from _variable(entry)
    for preset in config.get("presets", ()):
        unknown = set(preset["defaults"]) - set(keys)
        yield from (f"preset {preset['name']!r} sets {key}, which config.env lacks" for key in sorted(unknown))


def _load_balancer(document: Mapping[str, Any]) -> Iterator[str]:
    """A second form, for a load-balancing endpoint: the platform's defaults for its ports do not suffice."""
    yield from _hub(document)
    config = document.get("config") or {}
    if config.get("endpointType") != "LB":
        yield f"config.endpointType is {config.get('endpointType')!r}, expected 'LB'"
    fixed = {entry.get("key"): entry.get("value") for entry in config.get("env", ())}
    if not fixed.get("PORT") or fixed.get("PORT") != fixed.get("PORT_HEALTH"):
        yield "config.env does not set PORT and PORT_HEALTH to the port that the endpoint exposes"


def _variable(entry: Mapping[str, Any]) -> Iterator[str]:
    key, asked = entry.get("key"), entry.get("input")
    if asked is None:
        if not isinstance(entry.get("value"), str):
            yield f"{key} has neither input nor a text as value"
        return
    kind = INPUTS.get(str(asked.get("type")))
    if kind is None:
        yield f"{key}: type {asked.get('type')!r}, expected one of {', '.join(INPUTS)}"
        return
    yield from (f"{key}: {problem}" for problem in _texts(asked, "name", "description"))
    default = asked.get("default")
    if default is not None and (not isinstance(default, kind) or (isinstance(default, bool) and bool not in kind)):
        yield f"{key}: default {default!r} is not a {asked['type']}"
    values = [option.get("value") for option in asked.get("options", ())]
    if values and default is not None and default not in values:
        yield f"{key}: default {default!r} is not among its options"


def _tests(document: Mapping[str, Any]) -> Iterator[str]:
    cases = document.get("tests")
    if not isinstance(cases, list) or not cases:
        yield "tests is empty"
        return
    for case in cases:
        if not isinstance(case.get("name"), str) or not isinstance(case.get("input"), dict):
            yield f"a case needs name and input: {json.dumps(case)[:100]}"
        if not isinstance(case.get("timeout", 0), int):
            yield f"{case.get('name')}: timeout is not a whole number of milliseconds"
    for entry in (document.get("config") or {}).get("env", ()):
        if set(entry) != {"key", "value"} or not isinstance(entry["value"], str):
            yield f"config.env: {json.dumps(entry)}, expected key and value"


def _texts(document: Mapping[str, Any], *names: str) -> Iterator[str]:
    for name in names:
        if not isinstance(document.get(name), str) or not document[name].strip():
            yield f"{name} is missing"
