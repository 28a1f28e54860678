"""VLLM_CONFIG_FILE: a YAML file of `vllm serve` flags, the weakest layer that an operator can set."""

from __future__ import annotations

from worker_vllm.settings.builder import CONFIG_FILE, SettingsBuilder
from worker_vllm.settings.parsers import BadValue
from worker_vllm.settings.redaction import HIDDEN, looks_secret
from worker_vllm.settings.sources.flag_checks import is_allowed, refuse_unknown

KEY = "VLLM_CONFIG_FILE"


def read_config_file(draft: SettingsBuilder) -> None:
    """Set every flag of the file; its `model` counts where MODEL_NAME is not set."""
    if draft.facts.config_file_problem:
        draft.refuse(KEY, draft.facts.config_file_problem, f"correct the file, or remove {KEY}")
    for key, value in (draft.facts.config_file or {}).items():
        name = str(key).replace("-", "_").upper()
        if name in ("MODEL", "MODEL_TAG"):
            draft.set_field("engine.model", str(value), KEY, CONFIG_FILE)
            continue
        found = draft.table.by_option(f"--{key}")
        if found is None:
            refuse_unknown(draft, KEY, str(key))
        elif is_allowed(draft, found[0], KEY, value) and value is not None:
            try:
                draft.set_flag(found[0].name, found[0].accept(value), CONFIG_FILE, KEY)
            except BadValue as bad:
                shown = HIDDEN if looks_secret(str(key)) else value
                draft.refuse(KEY, bad.expected, bad.change, f"{key}: {shown}")
