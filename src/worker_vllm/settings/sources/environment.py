"""The environment as a source: settings, vLLM flags, variables of other programs, and misspelled names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

from worker_vllm.settings import suggestions
from worker_vllm.settings.builder import ENVIRONMENT, SettingsBuilder
from worker_vllm.settings.catalog import catalog
from worker_vllm.settings.catalog.catalog import Handling, Setting
from worker_vllm.settings.flags.flag_table import SHIPPED, Flag, FlagTable, flag_table, marks
from worker_vllm.settings.parsers import BadValue, cleaned
from worker_vllm.settings.redaction import Redactor, looks_secret, secrets_of

OURS = frozenset({"VLLM_EXTRA_ARGS", "VLLM_CONFIG_FILE"})
PREFIX = "VLLM_"
SHORTEST_BEHIND_PREFIX = 8  # vLLM has hundreds of variables, and plugins have more


def non_empty(env: Mapping[str, str], table: FlagTable) -> dict[str, str]:
    """The variables that are set.

    Left out: empty values, None and null unless `none` is a choice of the flag, and the variables in IGNORE_ENV.
    """
    found = {}
    ignored = frozenset(re.findall(r"[\w.-]+", env.get("IGNORE_ENV", "")))
    for name, text in env.items():
        if name in ignored:
            continue
        flag = table.flags.get(name)
        keep_none = flag is not None and "none" in flag.choices
        if (value := cleaned(text, free_text=keep_none)) is not None:
            found[name] = value
    return found


def secret_names(env: Iterable[str], version: str) -> frozenset[str]:
    """The variables that hold a secret by their own name or by the name that they misspell."""
    targets, known = name_index(version), catalog.names()
    found = {name for name in env if looks_secret(name)}
    others = (name for name in env if name not in known and name not in found)
    return frozenset(found | {name for name in others if any(map(looks_secret, targets.candidates(name)))})


def redactor(env: Mapping[str, str], version: str = SHIPPED) -> Redactor:
    """A redactor of every secret in an environment."""
    return Redactor(secrets_of(env, secret_names(env, version)))


def read_environment(draft: SettingsBuilder) -> None:
    """Set every flag and field that the environment names directly; refuse misspelled and reserved names.

    Where two settings set the same flag, the later line of the catalogue wins.
    """
    known = catalog.names()
    for setting in catalog.catalog().values():
        if key := draft.first_set(setting.name, *setting.aliases):
            _read_setting(draft, setting, key)
    owned, ambient = marks().owned, marks().ambient
    for name in draft.env:
        if name in known or name in OURS or name in ambient:
            continue
        flag = draft.table.flags.get(name)
        if flag is None:
            continue
        if name in owned:
            _refuse_owned(draft, flag, owned[name])
        elif (value := draft.parse_flag(flag, draft.env[name], name)) is not None:
            draft.set_flag(name, value, ENVIRONMENT, name)
    _refuse_misspelled(draft)


def _read_setting(draft: SettingsBuilder, setting: Setting, key: str) -> None:
    """Read one catalogue setting, unless a rule of its own reads it."""
    match setting.handling:
        case Handling.ENGINE:
            _read_flag(draft, setting, key)
        case Handling.WORKER:
            value = draft.parsed(setting, key)
            if value is not None:
                draft.set_field(setting.field, value * setting.scale if setting.scale != 1 else value, key)
        case Handling.GONE:
            _read_gone(draft, setting, key)
        case _:
            pass


def _read_flag(draft: SettingsBuilder, setting: Setting, key: str) -> None:
    flag = draft.table.flags.get(setting.target)
    if flag is None:
        draft.warn(f"{key} has no effect: vLLM {draft.table.version} has no such flag")
        return
    text = draft.env[key]
    if setting.zero_unset and not text.strip("0."):
        draft.warn_zero(setting, key)
        return
    value = draft.parse_flag(flag, text, key)
    if value is not None:
        draft.set_flag(setting.target, value, ENVIRONMENT, key)
        if setting.field:
            draft.set_field(setting.field, value, key)


def _read_gone(draft: SettingsBuilder, setting: Setting, key: str) -> None:
    if draft.env[key].lower() not in (setting.default.lower(), "0", "0.0", "false"):
        draft.warn(f"{key} has no effect: {setting.note}")


def _refuse_owned(draft: SettingsBuilder, flag: Flag, reason: str) -> None:
    try:
        harmless = flag.parse(draft.env[flag.name]) == flag.default
    except BadValue:
        harmless = False
    if not harmless:
        draft.refuse(flag.name, f"this to be left to the worker: {reason}", f"remove {flag.name}")


@cache
def name_index(version: str) -> suggestions.KnownNames:
    """The names that a misspelled one is compared with: without the system's, unless they are specified."""
    ambient = {name for name in marks().ambient if name not in catalog.names() or not catalog.names()[name].specified}
    table = flag_table(version)
    names = (frozenset(catalog.names()) | frozenset(table.flags) | OURS) - ambient
    return suggestions.KnownNames(names, table.variables - names)


def _refuse_misspelled(draft: SettingsBuilder) -> None:
    known = frozenset(catalog.names()) | frozenset(draft.table.flags) | OURS | draft.table.variables
    targets = name_index(draft.table.version)
    refused = {problem.key for problem in draft.problems}
    for name in draft.env:
        if name in known or name in refused or name in marks().ambient:
            continue
        if meant := targets.best_match(name) or _behind_prefix(name, targets):
            draft.refuse(
                name,
                f"a known variable; {meant} is one",
                f"rename it to {meant}, or set IGNORE_ENV={name} if it belongs to another program",
            )


def _behind_prefix(name: str, targets: suggestions.KnownNames) -> str | None:
    """The known name that a misspelled one behind the prefix VLLM_ stands for."""
    rest = name.removeprefix(PREFIX)
    return targets.best_match(rest) if rest != name and len(rest) >= SHORTEST_BEHIND_PREFIX else None
