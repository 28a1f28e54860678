"""Values in the wrong variable: access tokens, settings with the prefix VLLM_, the model's name."""

from __future__ import annotations

from worker_vllm.settings.builder import DEFAULT, SettingsBuilder
from worker_vllm.settings.catalog import catalog
from worker_vllm.settings.catalog.catalog import Handling, Kind, Setting
from worker_vllm.settings.flags.flag_table import marks
from worker_vllm.settings.redaction import is_token
from worker_vllm.settings.sources.environment import OURS, PREFIX

PLATFORM = "Platform"  # the group of names that only the platform sets
MODEL_NAMES = (
    *(
        "MODEL",
        "MODEL_ID",
        "MODEL_PATH",
        "MODEL_DIR",
        "MODEL_REPO",
        "MODEL_REPO_ID",
        "MODEL_TAG",
        "BASE_MODEL",
        "MODEL_NAME_OR_PATH",
    ),
    *("HF_MODEL", "HF_MODEL_ID", "HF_MODEL_NAME", "HF_MODEL_PATH", "HF_REPO", "HF_REPO_ID", "HUGGINGFACE_MODEL"),
    *("LLM_MODEL", "LLM_MODEL_NAME", "LLM_MODEL_ID", "VLLM_MODEL", "VLLM_MODEL_PATH", "VLLM_MODEL_ID"),
)


def refuse_tokens(draft: SettingsBuilder) -> None:
    """Refuse an access token in a variable whose value appears in responses and logs."""
    for name, text in list(draft.env.items()):
        if is_token(text) and _is_shown(draft, name):
            draft.refuse(
                name,
                "no secret: the value has the format of an access token, and this variable is shown to callers",
                "move it into the variable that is meant for it, such as HF_TOKEN",
            )
            del draft.env[name]


def _is_shown(draft: SettingsBuilder, name: str) -> bool:
    setting = catalog.names().get(name)
    if setting is not None:
        return setting.kind is not Kind.SECRET
    flag = name.removeprefix(PREFIX) in draft.table.flags and name not in draft.secret_names
    return flag or name in MODEL_NAMES


def take_prefixed(draft: SettingsBuilder) -> None:
    """Read VLLM_NAME as NAME where NAME is a setting or a flag, unless vLLM itself reads VLLM_NAME."""
    taken = []
    for name in [name for name in draft.env if name.startswith(PREFIX)]:
        plain = name.removeprefix(PREFIX)
        if name in draft.table.variables or name in OURS or name in catalog.names():
            continue
        setting = catalog.names().get(plain)
        if setting is None and (plain not in draft.table.flags or plain in marks().ambient):
            continue
        if setting is not None and _is_read_elsewhere(setting):
            if setting.group != PLATFORM:
                draft.refuse(
                    name, f"{plain} without the prefix: libraries read it by that name", f"rename it to {plain}"
                )
            continue
        taken.append(name)
        _take(draft, name, plain)
    if taken:
        draft.set_field("engine.withheld", tuple(taken), PREFIX, DEFAULT)


def _is_read_elsewhere(setting: Setting) -> bool:
    """Whether a library reads the variable by its plain name, or only the platform sets it."""
    return setting.handling is Handling.ENVIRONMENT or setting.kind is Kind.SECRET or setting.group == PLATFORM


def _take(draft: SettingsBuilder, name: str, plain: str) -> None:
    text = draft.env.pop(name)
    if plain in draft.env:
        draft.warn(f"{name} is ignored: {plain} is set too")
        return
    draft.env[plain] = text
    draft.written_names[plain] = name
    draft.warn(f"{name} is read as {plain}: the prefix VLLM_ is reserved for vLLM, write it without")


def refuse_model_names(draft: SettingsBuilder) -> bool:
    """Refuse a model in a variable that is not read, where MODEL_NAME is missing; return whether there was one."""
    found = [name for name in MODEL_NAMES if name in draft.env and name not in draft.table.variables]
    for name in found:
        if name not in (problem.key for problem in draft.problems):
            draft.refuse(
                name,
                "the model in MODEL_NAME, which is not set",
                f"rename it to MODEL_NAME, or set IGNORE_ENV={name} if it belongs to another program",
            )
    return bool(found) or any(problem.key == "MODEL_NAME" for problem in draft.problems)
