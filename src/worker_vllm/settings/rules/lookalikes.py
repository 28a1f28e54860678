"""Warns of variables that nothing reads and that resemble a setting, but not closely enough to be refused."""

from __future__ import annotations

from functools import cache

from worker_vllm.settings.builder import SettingsBuilder
from worker_vllm.settings.catalog import catalog
from worker_vllm.settings.catalog.catalog import Handling
from worker_vllm.settings.flags.flag_table import marks
from worker_vllm.settings.resemblance import Resemblances, aliases
from worker_vllm.settings.rules.misplaced import MODEL_NAMES, PLATFORM
from worker_vllm.settings.sources.environment import OURS

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
ADDRESS = "://"


def warn(draft: SettingsBuilder) -> None:
    """Add one warning for each such variable; none for one that holds what the setting itself holds."""
    read = {*catalog.names(), *draft.table.flags, *draft.table.variables, *marks().ambient, *OURS}
    seen = {problem.key for problem in draft.problems} | set(draft.written_names.values())
    for name, text in draft.env.items():
        if name in read or name in seen or (ADDRESS in text and name.endswith("_PORT")):
            continue
        meant = "MODEL_NAME" if name in MODEL_NAMES else _index().find(name)
        if meant is None or draft.env.get(meant) == text or (meant in TOKENS and draft.first_set(*TOKENS)):
            continue
        server = aliases().get(name, ("", ""))[0]
        whose = f" (a name of {server})" if server else ""
        draft.warn(f"{name} is not read{whose}: did you mean {meant}? IGNORE_ENV={name} silences this line")


@cache
def _index() -> Resemblances:
    """The settings that the worker itself reads and that have an effect; the platform sets its own."""
    settings = catalog.catalog().values()
    others = (Handling.GONE, Handling.ENVIRONMENT)
    return Resemblances([one.name for one in settings if one.group != PLATFORM and one.handling not in others])
