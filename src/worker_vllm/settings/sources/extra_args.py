"""VLLM_EXTRA_ARGS: `vllm serve` arguments as on a command line, the strongest layer."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from worker_vllm.settings.arguments import EngineArguments, Option
from worker_vllm.settings.builder import EXTRA_ARGS, SettingsBuilder
from worker_vllm.settings.flags.flag_table import Flag
from worker_vllm.settings.parsers import BadValue
from worker_vllm.settings.sources.flag_checks import is_allowed, refuse_unknown


def read_extra_args(draft: SettingsBuilder) -> None:
    """Set every flag of VLLM_EXTRA_ARGS; `--flag.key value` changes one key of an object."""
    try:
        words = shlex.split(draft.env.get(EXTRA_ARGS, ""))
    except ValueError as error:
        reason = f"words as a shell would read them ({error})"
        draft.refuse(EXTRA_ARGS, reason, "close the quotes", "…")
        return
    for option in EngineArguments(words).options:
        if not option.flag:
            draft.refuse(
                EXTRA_ARGS, "flags only; the model goes into MODEL_NAME", "remove it", " ".join(option.values)
            )
            continue
        found = draft.table.by_option(option.flag)
        if found is None:
            refuse_unknown(draft, EXTRA_ARGS, option.flag)
        elif is_allowed(draft, found[0], EXTRA_ARGS, option.values):
            _apply(draft, found[0], option, yes=found[1])


def text_flag(draft: SettingsBuilder, name: str) -> str | None:
    """The text that VLLM_EXTRA_ARGS gives a flag, for rules that run before `read_extra_args`; None without one."""
    try:
        words = shlex.split(draft.env.get(EXTRA_ARGS, ""))
    except ValueError:
        return None
    texts = [
        option.values[0]
        for option in EngineArguments(words).options
        if len(option.values) == 1 and (found := draft.table.by_option(option.flag)) and found[0].name == name
    ]
    return texts[-1].strip() if texts else None


def _apply(draft: SettingsBuilder, flag: Flag, option: Option, *, yes: bool) -> None:
    try:
        value = yes if flag.is_bool else _value(draft, flag, option)
    except BadValue as bad:
        draft.refuse(EXTRA_ARGS, bad.expected, bad.change, " ".join([option.flag, *option.values]))
        return
    if flag.is_bool and option.values:
        draft.refuse(EXTRA_ARGS, f"no value after {option.flag}", "remove it", " ".join(option.values))
        return
    draft.set_flag(flag.name, value, EXTRA_ARGS, EXTRA_ARGS)


def _value(draft: SettingsBuilder, flag: Flag, option: Option) -> Any:
    if option.key and flag.holds_object:
        return _with_key(draft.flag_value(flag.name), option)
    if flag.many and option.values:
        return flag.accept(list(option.values))
    if len(option.values) != 1:
        raise BadValue(f"one value after {option.flag}", f"write {option.flag} VALUE")
    if flag.repeat:
        earlier = draft.engine.get(flag.name)
        return [*(earlier.value if earlier and earlier.source == EXTRA_ARGS else []), option.values[0]]
    return flag.parse(option.values[0])


def _with_key(before: Any, option: Option) -> dict[str, Any]:
    """An object with one key changed, as by `--flag.outer.inner value`; `key+` appends to a list. Raises BadValue."""
    if len(option.values) != 1:
        raise BadValue(f"one value after {option.flag}.KEY", "write one")
    text, *path = option.values[0], *option.key.rstrip("+").split(".")
    appends = option.key.endswith("+")
    value: Any = text.split(",") if appends else _json_or_text(text)
    changed = json.loads(json.dumps(before)) if isinstance(before, Mapping) else {}
    inner = changed
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    last = inner.get(path[-1])
    inner[path[-1]] = [*last, *value] if appends and isinstance(last, list) else value
    return changed


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
