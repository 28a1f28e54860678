"""Flags not said by variables of their own: the config file's, the weakest, and VLLM_EXTRA_ARGS, the strongest."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from worker_vllm.settings.arguments import EngineArguments, Option
from worker_vllm.settings.builder import CONFIG_FILE, EXTRA_ARGS, SettingsBuilder
from worker_vllm.settings.flags.flag_table import Flag, marks
from worker_vllm.settings.parsers import BadValue
from worker_vllm.settings.redaction import HIDDEN, looks_secret
from worker_vllm.settings.suggestions import nearest


def read_config_file(draft: SettingsBuilder) -> None:
    """The flags of VLLM_CONFIG_FILE, as the weakest layer; `model` there counts where MODEL_NAME is not set."""
    if draft.facts.config_file_problem:
        draft.refuse(
            "VLLM_CONFIG_FILE", draft.facts.config_file_problem, "correct the file, or remove VLLM_CONFIG_FILE"
        )
    for key, value in (draft.facts.config_file or {}).items():
        name = str(key).replace("-", "_").upper()
        if name in ("MODEL", "MODEL_TAG"):
            draft.set_field("engine.model", str(value), "VLLM_CONFIG_FILE", CONFIG_FILE)
            continue
        found = draft.table.by_option(f"--{key}")
        if found is None:
            _refuse_unknown(draft, "VLLM_CONFIG_FILE", str(key))
        elif _allowed(draft, found[0], "VLLM_CONFIG_FILE", value) and value is not None:
            try:
                draft.set_flag(found[0].name, found[0].accept(value), CONFIG_FILE, "VLLM_CONFIG_FILE")
            except BadValue as bad:
                shown = HIDDEN if looks_secret(str(key)) else value
                draft.refuse("VLLM_CONFIG_FILE", bad.expected, bad.change, f"{key}: {shown}")


def read_extra_args(draft: SettingsBuilder) -> None:
    """The flags of VLLM_EXTRA_ARGS, as the strongest layer; `--flag.key value` changes one key of an object."""
    try:
        words = shlex.split(draft.env.get("VLLM_EXTRA_ARGS", ""))
    except ValueError as error:
        reason = f"words as a shell would read them ({error})"
        draft.refuse(EXTRA_ARGS, reason, "close the quotes", "…")
        return
    for said in EngineArguments(words).options:
        if not said.flag:
            draft.refuse(EXTRA_ARGS, "flags only; the model goes into MODEL_NAME", "remove it", " ".join(said.values))
            continue
        found = draft.table.by_option(said.flag)
        if found is None:
            _refuse_unknown(draft, EXTRA_ARGS, said.flag)
        elif _allowed(draft, found[0], EXTRA_ARGS, said.values):
            _apply(draft, found[0], said, yes=found[1])


def _apply(draft: SettingsBuilder, flag: Flag, said: Option, *, yes: bool) -> None:
    try:
        value = yes if flag.is_bool else _value(draft, flag, said)
    except BadValue as bad:
        draft.refuse(EXTRA_ARGS, bad.expected, bad.change, " ".join([said.flag, *said.values]))
        return
    if flag.is_bool and said.values:
        draft.refuse(EXTRA_ARGS, f"no value after {said.flag}", "remove it", " ".join(said.values))
        return
    draft.set_flag(flag.name, value, EXTRA_ARGS, EXTRA_ARGS)


def _value(draft: SettingsBuilder, flag: Flag, said: Option) -> Any:
    if said.key and flag.holds_object:
        return _with_key(draft.flag_value(flag.name), said)
    if flag.many and said.values:
        return flag.accept(list(said.values))
    if len(said.values) != 1:
        raise BadValue(f"one value after {said.flag}", f"write {said.flag} VALUE")
    if flag.repeat:
        earlier = draft.engine.get(flag.name)
        return [*(earlier.value if earlier and earlier.source == EXTRA_ARGS else []), said.values[0]]
    return flag.parse(said.values[0])


def _with_key(before: Any, said: Option) -> dict[str, Any]:
    """An object with one key changed, the way `--flag.outer.inner value` says it; `key+` appends to a list."""
    if len(said.values) != 1:
        raise BadValue(f"one value after {said.flag}.KEY", "write one")
    text, *path = said.values[0], *said.key.rstrip("+").split(".")
    value: Any = text.split(",") if said.key.endswith("+") else _json_or_text(text)
    changed = json.loads(json.dumps(before)) if isinstance(before, Mapping) else {}
    inner = changed
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    last = inner.get(path[-1])
    inner[path[-1]] = [*last, *value] if said.key.endswith("+") and isinstance(last, list) else value
    return changed


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _allowed(draft: SettingsBuilder, flag: Flag, key: str, value: object) -> bool:
    reason = marks().owned.get(flag.name)
    if reason is None:
        return True
    try:
        harmless = not flag.is_bool and value == (str(flag.default),)
    except ValueError:
        harmless = False
    if not harmless:
        draft.refuse(key, f"{flag.flag} to be left to the worker: {reason}", f"remove {flag.flag}", flag.flag)
    return False


def _refuse_unknown(draft: SettingsBuilder, key: str, option: str) -> None:
    flags = draft.table.flags.values()
    meant = nearest(option, [flag.flag for flag in flags])
    hint = f"did you mean {meant}?" if meant else "see vllm serve --help=all"
    draft.refuse(key, f"a flag of vLLM {draft.table.version}", hint, option)
