"""RoPE: vLLM reads one complete `rope_parameters` object, and anything less is dropped or half applied in silence.

Measured on 0.32: `rope_scaling` with `type` dies with a KeyError, `rope_theta` alone is ignored, and `rope_scaling`
alone loses the model's theta. So what the operator says is merged with what the model's config.json says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker_vllm.settings.catalog import catalog
from worker_vllm.settings.draft import ENVIRONMENT, Draft
from worker_vllm.settings.parallel import text_part

OLD_TYPES = {"su": "longrope"}
KEPT = ("partial_rotary_factor",)  # a trait of the model, not of the scaling


def translate(draft: Draft) -> None:
    """ROPE_SCALING and ROPE_THETA become rope_parameters in --hf-overrides."""
    scaling, theta = (draft.parsed(catalog()[name]) for name in ("ROPE_SCALING", "ROPE_THETA"))
    if scaling is None and theta is None:
        return
    key = "ROPE_SCALING" if scaling is not None else "ROPE_THETA"
    if scaling is not None and not isinstance(scaling, dict):
        draft.refuse(key, "a JSON object", 'write {"rope_type": "yarn", "factor": 4.0, …}')
        return
    overrides = draft.flag_value("HF_OVERRIDES") or {}
    if not isinstance(overrides, dict) or "rope_parameters" in str(overrides):
        draft.warn(f"{key} gives way to the RoPE parameters in HF_OVERRIDES")
        return
    parameters = _complete(draft, scaling, theta, key)
    if parameters is not None:
        config = draft.facts.model_config or {}
        nested = text_part(config) is not config
        said = overrides.get("text_config")
        inner = {**(said if isinstance(said, dict) else {}), "rope_parameters": parameters}
        change = {"text_config": inner} if nested else {"rope_parameters": parameters}
        draft.set_flag("HF_OVERRIDES", {**overrides, **change}, ENVIRONMENT, key)


def _complete(
    draft: Draft, scaling: Mapping[str, Any] | None, theta: float | None, key: str
) -> dict[str, Any] | None:
    """The whole object; None after a problem was noted."""
    config = draft.facts.model_config
    if config is None and (scaling is None or theta is None):
        missing = "ROPE_THETA" if theta is None else "ROPE_SCALING"
        draft.refuse(
            key,
            f"{missing} beside it, because the model's config.json is not on this machine to take it from",
            f"set {missing} to what the model's config.json says"
            + ("" if theta is None else ', or to {"rope_type": "default"} where it has none'),
        )
        return None
    own = model_rope(config or {})
    if any(isinstance(value, Mapping) for value in own.values()):
        draft.refuse(key, "a model with one set of RoPE parameters; this one has a set per layer type", _by_hand())
        return None
    kept = {name: own[name] for name in KEPT if name in own}
    parameters = dict(own) if scaling is None else {**kept, **_renamed(scaling)}
    parameters.setdefault("rope_type", own.get("rope_type", "default") if scaling is None else "")
    if not parameters["rope_type"]:
        draft.refuse(key, "an object with rope_type", 'add "rope_type", for example "yarn", "linear" or "dynamic"')
        return None
    known = theta if theta is not None else parameters.get("rope_theta", own.get("rope_theta"))
    if known is None:
        draft.refuse(key, "ROPE_THETA beside it, because the model's config.json names none", "set ROPE_THETA")
        return None
    return {**parameters, "rope_theta": known}


def model_rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """The RoPE parameters that a config.json holds, in the modern spelling."""
    text = text_part(config)
    said = (text.get(name) for name in ("rope_parameters", "rope_scaling"))
    found = _renamed(next((value for value in said if isinstance(value, Mapping) and value), {}))
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
