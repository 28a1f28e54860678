"""Every effective value and where it came from, for people who wonder why the engine was started as it was."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from worker_vllm.settings.catalog import Fate, Kind, Setting, catalog
from worker_vllm.settings.draft import ENVIRONMENT, Chosen, Draft
from worker_vllm.settings.flags import marks
from worker_vllm.settings.model import Origin, Settings

DEFAULT, ENGINE_DEFAULT, LEFT_ALONE = "default", "vLLM's default", "left alone"
HIDDEN = "***"
UNSHOWN = ("VLLM_EXTRA_ARGS",)  # each of its flags is shown; the text itself might hold what it should not


def origins(draft: Draft) -> tuple[Origin, ...]:
    """One entry for each setting of the catalogue that can have an effect, and for each other flag that was set."""
    found = [origin for setting in catalog().values() if (origin := _of_setting(draft, setting))]
    targets = {setting.target for setting in catalog().values() if setting.fate is Fate.ENGINE}
    found += [_of_chosen(name, chosen) for name, chosen in sorted(draft.engine.items()) if name not in targets]
    named = {origin.name for origin in found}
    places = {chosen.key: place for place, chosen in draft.fields.items()}
    found += [
        _of_chosen(key, draft.fields[place])
        for key, place in places.items()
        if key not in named and draft.fields[place].source != DEFAULT
    ]
    alone = sorted(name for name in draft.env if name in marks().ambient and name not in named)
    return (*found, *(Origin(name, HIDDEN if "KEY" in name else draft.env[name], LEFT_ALONE) for name in alone))


def _of_setting(draft: Draft, setting: Setting) -> Origin | None:
    if setting.kind is Kind.SECRET:
        return Origin(setting.name, HIDDEN, ENVIRONMENT) if setting.name in draft.env else None
    if setting.fate in (Fate.ENGINE, Fate.TRANSLATED) and (chosen := draft.engine.get(setting.target)):
        return _of_chosen(setting.name, chosen)
    if setting.fate is Fate.ENGINE and setting.target in draft.table.flags:
        return Origin(setting.name, draft.table.flags[setting.target].default, ENGINE_DEFAULT)
    if setting.field:
        if chosen := draft.fields.get(setting.field):
            return _of_chosen(setting.name, chosen)
        return Origin(setting.name, field_default(setting.field), DEFAULT)
    if setting.name not in UNSHOWN and (key := draft.first(setting.name, *setting.aliases)):
        source = "without effect" if setting.fate is Fate.GONE else ENVIRONMENT
        return Origin(setting.name, draft.env[key], source if key == setting.name else f"{source} ({key})")
    return None


def _of_chosen(name: str, chosen: Chosen) -> Origin:
    same = chosen.key in (name, chosen.source) or chosen.source == DEFAULT
    return Origin(name, chosen.value, chosen.source if same else f"{chosen.source} ({chosen.key})")


def field_default(place: str) -> Any:
    """The default of a place in Settings such as queue.max_concurrency."""
    group, _, name = place.rpartition(".")
    owner = getattr(Settings(), group) if group else Settings()
    return next(getattr(owner, field.name) for field in fields(owner) if field.name == name)
