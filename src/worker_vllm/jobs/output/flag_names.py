"""The settings variables for vLLM flags that an engine error names: an operator sets variables, not flags."""

from __future__ import annotations

import re
from functools import cache

from worker_vllm.settings.catalog.catalog import Handling, catalog
from worker_vllm.settings.flags.flag_table import SHIPPED, flag_table

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


def add_variable_names(message: str) -> str:
    """The message followed by the variable of each flag in it; unchanged when it names no flag."""
    named = {option: variable for option in OPTION.findall(message) if (variable := variable_for_flag(option))}
    missing = [f"{variable} for {option}" for option, variable in named.items() if variable not in message]
    if not missing:
        return message
    sentence = message.rstrip()
    stop = "" if sentence.endswith((".", "!", "?", ":")) else "."
    return f"{sentence}{stop} On this endpoint variables set these flags: {', '.join(missing)}."


@cache
def variable_for_flag(option: str) -> str | None:
    """The variable that sets this flag of `vllm serve`; None for a flag that does not exist."""
    found = flag_table(SHIPPED).by_option(option)
    if found is None:
        return None
    flag, _ = found
    ours = (one.name for one in catalog().values() if one.handling is Handling.ENGINE and one.target == flag.name)
    return next(ours, flag.name)
