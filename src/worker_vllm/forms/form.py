"""Generation of worker-config.json from the catalogue.

A field is empty where the specification's old default would change the engine's arguments, so that a form with its
initial values configures the same worker as an empty environment.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from worker_vllm.forms.image import CUDA, IMAGE, VLLM
from worker_vllm.settings.builder import SettingsBuilder
from worker_vllm.settings.catalog.catalog import Handling, Kind, Setting, catalog
from worker_vllm.settings.flags.flag_table import flag_table
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.load import build_draft

TYPES = {Kind.BOOL: "toggle", Kind.INT: "number", Kind.FLOAT: "number"}
CONSOLE_FIELDS = ("MODEL_NAME", "HF_TOKEN")  # the console has fields of its own for these
LEFT_OUT = ("Worker", "Platform", "Model places", "No longer in vLLM")  # groups that a form does not offer
# Settings of those groups that it offers nevertheless.
OFFERED = (
    "BASE_PATH",
    "DEFAULT_MAX_TOKENS",
    "FAST_START",
    "NATIVE_SAMPLING_DEFAULTS",
    "OPENAI_ERRORS",
    "DRAIN_TIMEOUT",
)
ALSO_IN = {"System Settings": (), "Serverless Settings": ("DISABLE_LOG_STATS",)}
ENGINE_CHOICE = {"value": "", "label": "engine's choice"}


def worker_config() -> dict[str, Any]:
    """The document as JSON."""
    settings = offered()
    groups: dict[str, list[str]] = {}
    for setting in settings:
        groups.setdefault(setting.group, []).append(setting.name)
    for group, names in ALSO_IN.items():
        groups[group] += names
    categories = [{"title": group, "settings": names} for group, names in groups.items()]
    return {
        "versions": {VLLM: {"imageName": IMAGE, "minimumCudaVersion": CUDA, "categories": categories}},
        "schema": {setting.name: entry(setting) for setting in settings},
    }


def offered() -> list[Setting]:
    """The settings of the form: those that have an effect and that an operator may want to set."""
    return [
        setting
        for setting in catalog().values()
        if setting.handling is not Handling.GONE
        and setting.name not in CONSOLE_FIELDS
        and (setting.group not in LEFT_OUT or setting.name in OFFERED)
    ]


def entry(setting: Setting) -> dict[str, Any]:
    """One field of the form."""
    value = form_value(setting)
    kind, options = TYPES.get(setting.kind, "text"), choices(setting)
    if setting.kind is Kind.BOOL and value == "":
        kind, options = "select", ["true", "false"]
    elif options:
        kind = "select"
    described = setting.help
    if setting.default and value == "":
        described += f" (The old default was {setting.default}.)"
    field: dict[str, Any] = {
        "env_var_name": setting.name,
        "value": value,
        "title": title(setting.name),
        "description": described,
        "required": False,
        "type": kind,
    }
    if kind == "select":
        empty = [ENGINE_CHOICE] if value == "" else []
        field["options"] = empty + [{"value": option, "label": option} for option in options]
    return field


def choices(setting: Setting) -> list[str]:
    """The options of a setting: vLLM's own list where it has one, else the catalogue's."""
    flag = flag_table().flags.get(setting.target)
    if (
        setting.handling in (Handling.ENGINE, Handling.TRANSLATED)
        and flag is not None
        and setting.kind is not Kind.BOOL
    ):
        allowed = [str(choice) for choice in flag.choices or flag.known]
        if allowed and setting.kind in (Kind.TEXT, Kind.CHOICE):
            return allowed
    return list(setting.options)


@cache
def form_value(setting: Setting) -> str | float | bool:
    """The field's initial value: the documented default where setting it changes nothing, else empty."""
    if not setting.default:
        return ""
    if effect_of({setting.name: setting.default}) != default_effect():
        return ""
    match setting.kind:
        case Kind.BOOL:
            return setting.default == "1"
        case Kind.INT | Kind.FLOAT:
            number = float(setting.default)
            return int(number) if number.is_integer() else number
        case _:
            return setting.default


def effect_of(env: dict[str, str]) -> tuple[Any, ...]:
    """Everything in an environment's settings that changes what the worker does."""
    draft: SettingsBuilder = build_draft(env, HostFacts(gpus=2))
    fields = {place: chosen.value for place, chosen in draft.fields.items()}
    return draft.argv(), draft.environment, {**default_fields(), **fields}, draft.problems, draft.warnings


@cache
def default_effect() -> tuple[Any, ...]:
    """The effect of an empty environment."""
    return effect_of({})


@cache
def default_fields() -> dict[str, Any]:
    """The default of every field of Settings that the catalogue sets."""
    from worker_vllm.settings.provenance import field_default

    return {setting.field: field_default(setting.field) for setting in catalog().values() if setting.field}


def title(name: str) -> str:
    """A variable's name as the title of a field."""
    keep = {"GPU", "KV", "HF", "LLM", "CPU", "GB", "RAY", "MM", "OTLP", "NCCL"}
    special = {
        "LORA": "LoRA",
        "LORAS": "LoRAs",
        "OPENAI": "OpenAI",
        "ROPE": "RoPE",
        "DTYPE": "Data Type",
        "VLLM": "vLLM",
    }
    words = [special.get(word) or (word if word in keep else word.capitalize()) for word in name.split("_")]
    return " ".join(words)
