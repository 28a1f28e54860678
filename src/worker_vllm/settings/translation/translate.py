"""Translates settings between our variables, the original worker's and `vllm serve`, with notes on what is lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from worker_vllm.errors import ConfigurationError
from worker_vllm.settings.builder import SettingsBuilder
from worker_vllm.settings.catalog.catalog import Handling, catalog, names
from worker_vllm.settings.flags.flag_table import flag_table
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.legacy.log_switches import INTERVAL
from worker_vllm.settings.load import ENGINE_LIMITS, build_draft
from worker_vllm.settings.redaction import is_token, looks_secret
from worker_vllm.settings.sources.served_model import DEFAULT_MODEL, repository_name
from worker_vllm.settings.translation.container_command import PastedCommand
from worker_vllm.settings.translation.serve_arguments import ServeArguments
from worker_vllm.settings.translation.variables import EXTRA_ARGS, NEW_GROUPS, canonical_variables, served_names


class Form(StrEnum):
    """A form that settings can have."""

    OURS = "ours"
    ORIGINAL = "original"
    SERVE = "serve"


@dataclass(frozen=True, slots=True)
class Translation:
    """Variables, and a command where the form is one. `secrets` are variables whose values are not shown."""

    variables: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def from_command(command: PastedCommand, to: Form, facts: HostFacts) -> Translation:
    """A `vllm serve` command in another form. Raises ConfigurationError with every invalid value."""
    read = ServeArguments(command, flag_table(facts.vllm))
    found = from_variables(read.variables, to, facts)
    secrets = tuple(dict.fromkeys((*found.secrets, *read.inherited)))
    return Translation(found.variables, secrets, found.command, (*read.notes, *found.notes))


def from_variables(env: Mapping[str, str], to: Form, facts: HostFacts) -> Translation:
    """Our or the original's variables in another form. Raises ConfigurationError with every invalid value."""
    draft = build_draft(env, HostFacts(vllm=facts.vllm, config_file=facts.config_file))
    if draft.problems:
        raise ConfigurationError(draft.problems)
    variables = canonical_variables(draft, original=to is Form.ORIGINAL)
    notes = [*draft.warnings, *_lost(draft)]
    command: tuple[str, ...] = ()
    if to is Form.SERVE:
        command = _serve_command(draft)
        notes += _worker_only(variables)
        variables = _serve_variables(draft, variables)
    elif to is Form.ORIGINAL:
        notes += _unknown_to_the_original(variables)
        variables = {name: text for name, text in variables.items() if not _is_new(name)}
    secrets = tuple(name for name, text in variables.items() if _is_secret(draft, name, text))
    shown = {name: text for name, text in variables.items() if name not in secrets}
    return Translation(shown, secrets, tuple(map(draft.redact, command)), tuple(dict.fromkeys(notes)))


def _is_secret(draft: SettingsBuilder, name: str, text: str) -> bool:
    return looks_secret(name) or is_token(text) or draft.redact(text) != text


def _lost(draft: SettingsBuilder) -> list[str]:
    gone = [name for name in draft.env if name in names() and names()[name].handling is Handling.GONE]
    notes = [f"{name}: left out; {names()[name].note}" for name in gone]
    if "VLLM_CONFIG_FILE" in draft.env:
        notes.append("VLLM_CONFIG_FILE: its flags are spelled out where the file can be read")
    return notes


def _serve_command(draft: SettingsBuilder) -> tuple[str, ...]:
    chosen = draft.fields.get("engine.model")
    model = str(chosen.value) if chosen else DEFAULT_MODEL
    argv = ["vllm", "serve", model, *draft.argv()]
    if INTERVAL in draft.environment:
        argv.append("--disable-log-stats")
    if served := served_names(draft):
        argv += ["--served-model-name", *served, repository_name(model)]
    return tuple(argv)


def _serve_variables(draft: SettingsBuilder, variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that vLLM and its libraries read, and those that the worker sets for the engine."""
    read = {
        name: text
        for name, text in variables.items()
        if name != EXTRA_ARGS and (name in draft.table.variables or _is_read_by_libraries(name))
    }
    if (key := read.pop("API_KEY", None)) is not None:
        read["VLLM_API_KEY"] = key
    return read | {name: text for name, text in draft.environment.items() if name != INTERVAL}


def _is_read_by_libraries(name: str) -> bool:
    setting = catalog().get(name)
    return (
        setting is not None
        and setting.handling is Handling.ENVIRONMENT
        and not name.startswith(("RUNPOD_", "WORKER_"))
    )


def _worker_only(variables: Mapping[str, str]) -> list[str]:
    engine_fields = frozenset(ENGINE_LIMITS)
    notes = []
    for name in variables:
        setting = catalog().get(name)
        if (
            setting is None
            or setting.handling not in (Handling.WORKER, Handling.TRANSLATED)
            or setting.field in engine_fields
        ):
            continue
        if setting.handling is Handling.WORKER or setting.group in NEW_GROUPS:
            notes.append(f"{name}: only the worker has it; vllm serve has no counterpart")
        elif name in ("ROPE_SCALING", "ROPE_THETA"):
            notes.append(f"{name}: merged with the model's config.json; write rope_parameters in --hf-overrides")
    return notes


def _is_new(name: str) -> bool:
    setting = catalog().get(name)
    return setting is not None and setting.group in NEW_GROUPS and setting.handling is not Handling.ENVIRONMENT


def _unknown_to_the_original(variables: Mapping[str, str]) -> list[str]:
    notes = [f"{name}: the original has no such variable; it is left out" for name in variables if _is_new(name)]
    if EXTRA_ARGS in variables:
        notes.append(f"{EXTRA_ARGS}: read from release 2.24 on; earlier ones have no variable for these flags")
    return notes
