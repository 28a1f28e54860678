"""RoPE settings as one complete `rope_parameters` object: vLLM ignores a partial one, or applies half of it.

Measured on vLLM 0.32: `rope_scaling` with `type` fails with a KeyError, `rope_theta` alone is ignored, and
`rope_scaling` alone loses the model's theta. So the operator's values are merged with the model's config.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker_vllm.settings.arguments import EngineArguments
from worker_vllm.settings.builder import DEFAULT, ENVIRONMENT, SettingsBuilder
from worker_vllm.settings.catalog.catalog import catalog
from worker_vllm.settings.parsers import BadValue, compact_json, parse_json
from worker_vllm.settings.rules.tensor_parallel import text_part
from worker_vllm.settings.types import RopeChange

OLD_TYPES = {"su": "longrope"}
OVERRIDES = "--hf-overrides"
KEPT = ("partial_rotary_factor",)  # belongs to the model, not to the scaling


def translate(draft: SettingsBuilder) -> None:
    """Translate ROPE_SCALING and ROPE_THETA to rope_parameters in --hf-overrides."""
    scaling, theta = (draft.parsed(catalog()[name]) for name in ("ROPE_SCALING", "ROPE_THETA"))
    if scaling is None and theta is None:
        return
    key = "ROPE_SCALING" if scaling is not None else "ROPE_THETA"
    if scaling is not None and not isinstance(scaling, dict):
        draft.refuse(key, "a JSON object", 'write {"rope_type": "yarn", "factor": 4.0, …}')
        return
    overrides = draft.flag_value("HF_OVERRIDES") or {}
    if not isinstance(overrides, dict) or "rope_parameters" in str(overrides):
        draft.warn(f"{key} is ignored: HF_OVERRIDES sets RoPE parameters")
        return
    change = RopeChange(key, scaling, theta)
    config = draft.facts.model_config
    try:
        if config is not None:
            draft.set_flag("HF_OVERRIDES", merged(overrides, change, config), ENVIRONMENT, key)
            return
        if scaling is not None:
            _typed(_renamed(scaling))
    except BadValue as bad:
        draft.refuse(key, bad.expected, bad.change)
        return
    stored = "://" in draft.env.get("MODEL_NAME", "") and not draft.env["MODEL_NAME"].startswith("http")
    if stored or draft.facts.model_on_disk:
        _without_config(draft, overrides, change)
    elif "ENGINE_URL" not in draft.env:
        draft.set_field("engine.rope", change, key, DEFAULT)
        draft.warn(f"{key} is merged with the model's config.json at the start, once that is on disk")


def _without_config(draft: SettingsBuilder, overrides: Mapping[str, Any], change: RopeChange) -> None:
    """Set the parameters of a model in an object store, or in a directory without a config.json."""
    if change.scaling is not None and change.theta is not None:
        draft.set_flag("HF_OVERRIDES", merged(overrides, change, {}), ENVIRONMENT, change.key)
        return
    missing = "ROPE_THETA" if change.theta is None else "ROPE_SCALING"
    draft.refuse(
        change.key,
        f"{missing} beside it, because the model's config.json is not on disk",
        f"set {missing} to the value in the model's config.json"
        + ("" if change.theta is None else ', or to {"rope_type": "default"} where it has none'),
    )


def completed(arguments: Sequence[str], change: RopeChange, config: Mapping[str, Any]) -> tuple[str, ...]:
    """An engine's arguments with the change merged into --hf-overrides. Raises BadValue.

    Called once a download has brought the model's config.json.
    """
    given = EngineArguments(arguments)
    text = given.get(OVERRIDES) or "{}"
    overrides = parse_json(text)
    if not isinstance(overrides, dict) or "rope_parameters" in text:
        return tuple(arguments)
    return given.with_(OVERRIDES, compact_json(merged(overrides, change, config))).argv


def merged(overrides: Mapping[str, Any], change: RopeChange, config: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides with the model's RoPE parameters and the change as one complete object. Raises BadValue."""
    parameters = _complete(change, config)
    if text_part(config) is config:
        return {**overrides, "rope_parameters": parameters}
    inner = overrides.get("text_config")
    return {**overrides, "text_config": {**(inner if isinstance(inner, dict) else {}), "rope_parameters": parameters}}


def _complete(change: RopeChange, config: Mapping[str, Any]) -> dict[str, Any]:
    own = model_rope(config)
    if any(isinstance(value, Mapping) for value in own.values()):
        raise BadValue("a model with one set of RoPE parameters; this one has a set per layer type", _by_hand())
    if change.scaling is None:
        parameters = {"rope_type": "default", **own}
    else:
        kept = {name: own[name] for name in KEPT if name in own}
        parameters = _typed({**kept, **_renamed(change.scaling)})
    known = change.theta if change.theta is not None else parameters.get("rope_theta", own.get("rope_theta"))
    if known is None:
        raise BadValue("ROPE_THETA beside it, because the model's config.json has none", "set ROPE_THETA")
    return {**parameters, "rope_theta": known}


def _typed(parameters: dict[str, Any]) -> dict[str, Any]:
    if not parameters.get("rope_type"):
        raise BadValue("an object with rope_type", 'add "rope_type", for example "yarn", "linear" or "dynamic"')
    return parameters


def model_rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """The RoPE parameters of a config.json, under their modern names."""
    text = text_part(config)
    stored = (text.get(name) for name in ("rope_parameters", "rope_scaling"))
    found = _renamed(next((value for value in stored if isinstance(value, Mapping) and value), {}))
    if "rope_theta" not in found and text.get("rope_theta") is not None:
        found["rope_theta"] = text["rope_theta"]
    if "partial_rotary_factor" not in found and text.get("partial_rotary_factor") is not None:
        found["partial_rotary_factor"] = text["partial_rotary_factor"]
    return found


def _renamed(scaling: Mapping[str, Any]) -> dict[str, Any]:
    renamed = dict(scaling)
    if "type" in renamed:
        renamed.setdefault("rope_type", renamed.pop("type"))
        renamed.pop("type", None)
    kind = renamed.get("rope_type")
    if isinstance(kind, str):
        renamed["rope_type"] = OLD_TYPES.get(kind, kind)
    return renamed


def _by_hand() -> str:
    return 'write the whole object into HF_OVERRIDES={"rope_parameters": …}'
