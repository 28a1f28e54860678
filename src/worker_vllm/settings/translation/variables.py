"""A draft's settings as variables in one canonical spelling: each flag under its own name, old names translated."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from worker_vllm.settings.builder import SettingsBuilder, same_value
from worker_vllm.settings.catalog.catalog import Handling, Setting, catalog, names
from worker_vllm.settings.flags.flag_table import Flag, marks
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.legacy.log_switches import INTERVAL, NEVER_S
from worker_vllm.settings.load import build_draft
from worker_vllm.settings.parsers import BadValue, compact_json
from worker_vllm.settings.rules.media_policy import ANY_HOST, DOMAINS
from worker_vllm.settings.sources.environment import OURS
from worker_vllm.settings.sources.served_model import repository_name

EXTRA_ARGS = "VLLM_EXTRA_ARGS"
NAMES = "OPENAI_SERVED_MODEL_NAME_OVERRIDE"
NEW_GROUPS = frozenset({"Worker", "Platform", "Model places"})  # the original had no such settings
KEPT = frozenset({"MODEL_NAME"})
ROPE = frozenset({"ROPE_SCALING", "ROPE_THETA"})


def canonical_variables(draft: SettingsBuilder, *, original: bool = False) -> dict[str, str]:
    """Variables with the meaning of the draft; with `original`, flags only under names that the original read."""
    found = {name: text for name, text in (_copied(draft, name) for name in sorted(draft.env)) if text}
    if served := served_names(draft):
        found[NAMES] = compact_json(served) if any("," in name for name in served) else ",".join(served)
    if draft.environment.get(INTERVAL) == NEVER_S:
        found["DISABLE_LOG_STATS"] = "true" if original else "1"
    if DOMAINS not in draft.engine and ANY_HOST in _field(draft, "policy.media_domains", ()):
        found[DOMAINS] = ANY_HOST
    wanted = engine_flags(draft)
    for name, value in wanted.items():
        if (text := _text(draft.table.flags[name], value, original=original)) is not None:
            found[name] = text
    return _without_implied(draft, _with_arguments(draft, found, wanted))


def engine_flags(draft: SettingsBuilder) -> dict[str, Any]:
    """The flags that differ from vLLM's default."""
    flags = draft.table.flags
    return {
        name: chosen.value
        for name, chosen in sorted(draft.engine.items())
        if not same_value(chosen.value, flags[name].default)
    }


def served_names(draft: SettingsBuilder) -> list[str]:
    """The names for clients besides the model's own."""
    own = repository_name(str(_field(draft, "engine.model", "")))
    return [name for name in _field(draft, "engine.served_names", ()) if name != own]


def _field(draft: SettingsBuilder, place: str, default: Any) -> Any:
    chosen = draft.fields.get(place)
    return default if chosen is None else chosen.value


def _copied(draft: SettingsBuilder, name: str) -> tuple[str, str]:
    """The variable's present name and text; an empty text where a flag stands for it, or nothing does."""
    setting = names().get(name)
    if setting is None:
        return name, draft.env[name] if name in draft.table.variables and name not in OURS else ""
    return setting.name, draft.env[name] if _is_copied(draft, setting) else ""


def _is_copied(draft: SettingsBuilder, setting: Setting) -> bool:
    if setting.name in ROPE:
        return "engine.rope" in draft.fields
    if setting.handling is Handling.TRANSLATED:
        return setting.name in KEPT or (setting.group in NEW_GROUPS and setting.name not in OURS)
    return setting.handling in (Handling.WORKER, Handling.ENVIRONMENT)


def has_name(flag: Flag, *, original: bool) -> bool:
    """Whether a variable of this name sets the flag."""
    setting = catalog().get(flag.name)
    if setting is None:
        return not original and flag.name not in marks().ambient
    return setting.handling is not Handling.GONE and not (original and setting.group in NEW_GROUPS)


def _text(flag: Flag, value: Any, *, original: bool) -> str | None:
    """A flag's value as the text of its variable; None where no text has that meaning."""
    if not has_name(flag, original=original):
        return None
    if isinstance(value, bool):
        text = str(value).lower() if original else str(int(value))
    elif isinstance(value, list):
        text = (
            compact_json(value)
            if any(set(item) & set(', \t\n"[{') for item in map(str, value))
            else ",".join(map(str, value))
        )
    else:
        text = value if isinstance(value, str) else compact_json(value)
    try:
        return text if text == text.strip() and same_value(flag.parse(text), value) else None
    except BadValue:
        return None


def _with_arguments(draft: SettingsBuilder, found: dict[str, str], wanted: Mapping[str, Any]) -> dict[str, str]:
    """The variables, with VLLM_EXTRA_ARGS for the flags to which no variable gives their value."""
    got = engine_flags(build_draft(found, HostFacts(vllm=draft.table.version)))
    arguments: list[str] = []
    for name, value in wanted.items():
        if name not in got or not same_value(got[name], value):
            found.pop(name, None)
            arguments += draft.table.flags[name].argv(value)
    return {**found, EXTRA_ARGS: shlex.join(arguments)} if arguments else found


def _without_implied(draft: SettingsBuilder, found: dict[str, str]) -> dict[str, str]:
    """The variables without those of vLLM that the worker sets by itself to the same value."""
    for name in [name for name in found if name in draft.table.variables and name not in names()]:
        others = {other: text for other, text in found.items() if other != name}
        if build_draft(others, HostFacts(vllm=draft.table.version)).environment.get(name) == found[name]:
            found = others
    return found
