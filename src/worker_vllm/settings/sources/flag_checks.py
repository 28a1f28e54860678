"""Checks of flags from a config file or a command line: unknown ones, and those that only the worker may set."""

from __future__ import annotations

from worker_vllm.settings.builder import SettingsBuilder
from worker_vllm.settings.flags.flag_table import Flag, marks
from worker_vllm.settings.suggestions import nearest


def is_allowed(draft: SettingsBuilder, flag: Flag, key: str, value: object) -> bool:
    """Whether an operator may set the flag; else refuse it, unless the value is vLLM's default."""
    reason = marks().owned.get(flag.name)
    if reason is None:
        return True
    harmless = not flag.is_bool and value == (str(flag.default),)
    if not harmless:
        draft.refuse(key, f"{flag.flag} to be left to the worker: {reason}", f"remove {flag.flag}", flag.flag)
    return False


def refuse_unknown(draft: SettingsBuilder, key: str, option: str) -> None:
    """Refuse an option that this vLLM does not have, with the nearest one that it has."""
    meant = nearest(option, [flag.flag for flag in draft.table.flags.values()])
    hint = f"did you mean {meant}?" if meant else "see vllm serve --help=all"
    draft.refuse(key, f"a flag of vLLM {draft.table.version}", hint, option)
