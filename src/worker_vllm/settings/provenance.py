"""Every effective value and the layer that set it, for `config show`."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from worker_vllm.settings.builder import DEFAULT, ENVIRONMENT, Chosen, SettingsBuilder
from worker_vllm.settings.catalog.catalog import Handling, Kind, Setting, catalog
from worker_vllm.settings.flags.flag_table import marks
from worker_vllm.settings.redaction import HIDDEN
from worker_vllm.settings.types import SettingOrigin, Settings

ENGINE_DEFAULT, LEFT_ALONE, NOT_SET, WITHOUT_EFFECT = "vLLM's default", "left alone", "not set", "without effect"
UNCHOSEN = frozenset({DEFAULT, ENGINE_DEFAULT, NOT_SET})  # sources of values that are not set
UNSHOWN = ("VLLM_EXTRA_ARGS",)  # its flags are listed one by one; the whole text may hold a secret


def origins(draft: SettingsBuilder) -> tuple[SettingOrigin, ...]:
    """One entry for every known name: values that are set first, then the others; each name once."""
    found = {setting.name: _of_setting(draft, setting) for setting in catalog().values()}
    targets = {setting.target for setting in catalog().values() if setting.handling is Handling.ENGINE}
    for name, chosen in sorted(draft.engine.items()):
        if name not in targets:
            found.setdefault(name, _of_chosen(draft, name, chosen))
    for chosen in draft.fields.values():
        counts = chosen.key in catalog() if chosen.source == DEFAULT else True
        if counts and _is_new(found, chosen.key):
            found[chosen.key] = _of_chosen(draft, chosen.key, chosen)
    for name in sorted(draft.env):
        if name in marks().ambient and _is_new(found, name):
            found[name] = SettingOrigin(name, HIDDEN if name in draft.secret_names else draft.env[name], LEFT_ALONE)
    for name, flag in draft.table.flags.items():
        if name not in targets and name not in marks().owned:
            found.setdefault(name, SettingOrigin(name, flag.default, ENGINE_DEFAULT))
    shown = [replace(origin, value=draft.redact.value(origin.value)) for origin in found.values()]
    return tuple(sorted(shown, key=lambda origin: origin.source in UNCHOSEN))


def _is_new(found: dict[str, SettingOrigin], name: str) -> bool:
    """Whether no row shows yet that the name was set."""
    return name not in found or found[name].source in UNCHOSEN


def _of_setting(draft: SettingsBuilder, setting: Setting) -> SettingOrigin:
    if setting.kind is Kind.SECRET:
        known = draft.first_set(setting.name, *setting.aliases)
        return (
            SettingOrigin(setting.name, HIDDEN, ENVIRONMENT) if known else SettingOrigin(setting.name, None, NOT_SET)
        )
    if setting.handling in (Handling.ENGINE, Handling.TRANSLATED) and (chosen := draft.engine.get(setting.target)):
        return _of_chosen(draft, setting.name, chosen)
    if setting.handling is Handling.ENGINE and setting.target in draft.table.flags:
        return SettingOrigin(setting.name, draft.table.flags[setting.target].default, ENGINE_DEFAULT)
    if setting.field:
        if chosen := draft.fields.get(setting.field):
            return _of_chosen(draft, setting.name, chosen)
        return SettingOrigin(setting.name, field_default(setting.field), DEFAULT)
    if key := draft.first_set(setting.name, *setting.aliases):
        text = HIDDEN if setting.name in UNSHOWN else draft.env[key]
        source = WITHOUT_EFFECT if setting.handling is Handling.GONE else ENVIRONMENT
        return SettingOrigin(setting.name, text, _with_key(draft, source, key, setting.name))
    # A specified default is what an old vLLM chose; where a rule translates the setting, vLLM chooses today.
    if setting.default and (not setting.specified or setting.name == "MODEL_NAME"):
        return SettingOrigin(setting.name, setting.default, DEFAULT)
    return SettingOrigin(setting.name, None, NOT_SET)


def _of_chosen(draft: SettingsBuilder, name: str, chosen: Chosen) -> SettingOrigin:
    direct = chosen.key == chosen.source or chosen.source == DEFAULT
    return SettingOrigin(
        name, chosen.value, chosen.source if direct else _with_key(draft, chosen.source, chosen.key, name)
    )


def _with_key(draft: SettingsBuilder, source: str, key: str, name: str) -> str:
    """The source, followed by the variable that was set where it has another name."""
    written = draft.written_names.get(key, key)
    return source if written == name else f"{source} ({written})"


def field_default(place: str) -> Any:
    """The default of a place in Settings such as queue.max_concurrency. Raises LookupError where there is none."""
    group, _, name = place.rpartition(".")
    empty = Settings()
    owner = getattr(empty, group, None) if group else empty
    if not is_dataclass(owner) or isinstance(owner, type):
        raise LookupError(
            f'the catalogue has a setting with the field "{place}", but Settings has no group "{group}"'
        )
    if name not in {field.name for field in fields(owner)}:
        kind = type(owner).__name__
        raise LookupError(
            f'the catalogue has a setting with the field "{place}", but {kind} has no field "{name}": '
            f"add it with its default to {kind} in settings/types.py, or correct the name in settings/catalog/*.json"
        )
    return getattr(owner, name)
