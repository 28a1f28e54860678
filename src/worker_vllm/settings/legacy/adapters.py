"""LoRA settings: adapters in every documented format, ranks and data types that vLLM no longer accepts."""

from __future__ import annotations

import re
from typing import Any

from worker_vllm.settings.builder import ENVIRONMENT, SettingsBuilder
from worker_vllm.settings.catalog.catalog import catalog
from worker_vllm.settings.parsers import BadValue, compact_json, parse_json

KEYS = ("name", "path", "base_model_name", "is_3d_lora_weight")
FORMS = 'an object, an array of objects {"name": …, "path": …}, or name=path'


def translate(draft: SettingsBuilder) -> None:
    """Translate LORA_MODULES, MAX_LORA_RANK and LORA_DTYPE."""
    if "LORA_MODULES" in draft.env:
        try:
            adapters = read_adapters(draft.env["LORA_MODULES"])
        except BadValue as bad:
            draft.refuse("LORA_MODULES", bad.expected, bad.change)
        else:
            _serve(draft, adapters)
    _rank(draft)
    kind = draft.parsed(catalog()["LORA_DTYPE"])
    if kind == "float32" and kind not in draft.table.flags["LORA_DTYPE"].choices:
        draft.warn("LORA_DTYPE=float32 is read as auto: vLLM keeps adapters in the model's data type")
        kind = "auto"
    if kind is not None:
        draft.set_flag("LORA_DTYPE", kind, ENVIRONMENT, "LORA_DTYPE")


def read_adapters(text: str) -> list[dict[str, Any]]:
    """The adapters that a text names. Raises BadValue."""
    text = text.strip()
    if text.startswith(("[", "{")):
        value = parse_json(text)
        items = value if isinstance(value, list) else [value]
    else:
        items = [item for item in re.split(r"[\s,]+(?=[^\s,=]+=)", text) if item]
    adapters = [_adapter(item) for item in items]
    names = [adapter["name"] for adapter in adapters]
    for name in names:
        if names.count(name) > 1:
            raise BadValue("each adapter's name once", f"rename one of the adapters called {name}")
    return adapters


def _adapter(item: Any) -> dict[str, Any]:
    if isinstance(item, str):
        if item.lstrip().startswith("{"):
            return _adapter(parse_json(item))
        name, equals, path = item.partition("=")
        item = {"name": name.strip(), "path": path.strip()} if equals else {}
    if not isinstance(item, dict) or not item.get("name") or not item.get("path"):
        raise BadValue(FORMS, 'write [{"name": "my-adapter", "path": "org/repository"}]')
    for key, value in item.items():
        if key not in KEYS:
            raise BadValue(f"adapters with the keys {', '.join(KEYS)}", f"remove {key!r}")
        wanted = bool if key == "is_3d_lora_weight" else str
        if not isinstance(value, wanted) and not (key == "base_model_name" and value is None):
            raise BadValue(f"{key} as a {wanted.__name__}", f"correct {key!r}")
    return {key: item[key] for key in KEYS if item.get(key)}


def _serve(draft: SettingsBuilder, adapters: list[dict[str, Any]]) -> None:
    """Set one argv item for each adapter: vLLM takes no array."""
    if not adapters:
        return
    items = [compact_json(adapter) for adapter in adapters]
    draft.set_flag("LORA_MODULES", items, ENVIRONMENT, "LORA_MODULES")
    if (chosen := draft.engine.get("ENABLE_LORA")) and not chosen.value:
        draft.warn(f"{chosen.key}=0 is ignored: LORA_MODULES needs LoRA enabled")
    draft.set_flag("ENABLE_LORA", True, ENVIRONMENT, "LORA_MODULES")


def _rank(draft: SettingsBuilder) -> None:
    rank = draft.parsed(catalog()["MAX_LORA_RANK"])
    if rank is None:
        return
    ranks = sorted(draft.table.flags["MAX_LORA_RANK"].choices)
    allowed = next((choice for choice in ranks if choice >= rank), None)
    if allowed is None:
        draft.refuse("MAX_LORA_RANK", f"at most {ranks[-1]}", f"write {ranks[-1]} or less")
        return
    if allowed != rank:
        draft.warn(f"MAX_LORA_RANK={rank} is rounded up to {allowed}, the next rank that vLLM supports")
    draft.set_flag("MAX_LORA_RANK", allowed, ENVIRONMENT, "MAX_LORA_RANK")
