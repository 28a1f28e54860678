"""Environment variables to frozen Settings, or to one ConfigurationError with every problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from worker_vllm.errors import ConfigurationError
from worker_vllm.settings import legacy
from worker_vllm.settings.builder import SettingsBuilder
from worker_vllm.settings.catalog.catalog import catalog
from worker_vllm.settings.flags.flag_table import flag_table
from worker_vllm.settings.host_facts import HostFacts
from worker_vllm.settings.parsers import compact_json
from worker_vllm.settings.provenance import field_default, origins
from worker_vllm.settings.redaction import Redactor, embedded, secrets_of
from worker_vllm.settings.rules import deployment, lookalikes, media_policy, validation
from worker_vllm.settings.rules.misplaced import refuse_tokens, take_prefixed
from worker_vllm.settings.sources import served_model
from worker_vllm.settings.sources.config_file import read_config_file
from worker_vllm.settings.sources.environment import non_empty, read_environment, secret_names
from worker_vllm.settings.sources.extra_args import read_extra_args
from worker_vllm.settings.types import Mode, Secret, Settings

LEVELS = {"TRACE": "DEBUG", "WARN": "WARNING", "FATAL": "CRITICAL", "NOTSET": "DEBUG"}

# Limits that the engine enforces too: its variable is set, so that raising the worker's limit is enough.
ENGINE_LIMITS = {
    "limits.n": "VLLM_MAX_N_SEQUENCES",
    "limits.prompts": "VLLM_MAX_COMPLETION_PROMPTS",
    "limits.stop": "VLLM_MAX_STOP_STRINGS",
}


def load(env: Mapping[str, str], facts: HostFacts | None = None) -> Settings:
    """The settings of an environment; `facts` describe the machine and the image.

    Reads nothing but its arguments. Raises ConfigurationError with every problem at once.
    """
    draft = build_draft(env, facts or HostFacts())
    if draft.problems:
        raise ConfigurationError(draft.problems)
    return freeze(draft)


def load_despite_problems(env: Mapping[str, str], facts: HostFacts) -> Settings:
    """The settings of an environment without the values that have problems. Never raises."""
    return freeze(build_draft(env, facts))


def build_draft(env: Mapping[str, str], facts: HostFacts) -> SettingsBuilder:
    """Apply every step to an environment; the builder that is returned holds the problems too."""
    table = flag_table(facts.vllm)
    hidden = secret_names(env, table.version)
    redact = Redactor(secrets_of(env, hidden))
    draft = SettingsBuilder(env=non_empty(env, table), facts=facts, table=table, secret_names=hidden, redact=redact)
    for step in STEPS:
        step(draft)
    return draft


def freeze(draft: SettingsBuilder) -> Settings:
    """The frozen settings of a draft, without invalid values. Raises LookupError for an unknown field."""
    values: dict[str, dict[str, Any]] = {}
    for place, chosen in draft.fields.items():
        field_default(place)  # raises where the catalogue names a field that does not exist
        group, _, name = place.rpartition(".")
        values.setdefault(group, {})[name] = chosen.value
    engine = values.setdefault("engine", {})
    engine |= {"arguments": tuple(draft.argv()), "environment": dict(draft.environment)}
    empty = Settings()
    groups = {
        group.name: replace(getattr(empty, group.name), **values[group.name])
        for group in fields(Settings)
        if group.name in values
    }
    return replace(
        empty,
        **groups,
        **values.get("", {}),
        origins=origins(draft),
        secrets=_secrets(draft),
        warnings=tuple(draft.warnings),
    )


def _secrets(draft: SettingsBuilder) -> tuple[Secret, ...]:
    """The secrets of the environment, and those inside JSON objects from a config file or an argument."""
    objects = (chosen.value for chosen in draft.engine.values() if isinstance(chosen.value, dict | list))
    inner = {text for value in objects for text in embedded(compact_json(value))}
    known = {secret.reveal() for secret in draft.redact.secrets}
    return (*draft.redact.secrets, *(Secret(text) for text in sorted(inner - known)))


def _choose_job_rules(draft: SettingsBuilder) -> None:
    settings = catalog()
    if draft.parsed(settings["NATIVE_SAMPLING_DEFAULTS"]) == "model":
        draft.set_field("jobs.native_model_defaults", True, "NATIVE_SAMPLING_DEFAULTS")
    if draft.parsed(settings["OPENAI_ERRORS"]) == "inline":
        draft.set_field("jobs.inline_errors", True, "OPENAI_ERRORS")
    if draft.parsed(settings["ALLOW_LORA_UPDATES"]):
        # The engine opens these routes only with its own variable.
        draft.environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    if draft.flag_value("ENABLE_TOKENIZER_INFO_ENDPOINT"):
        draft.set_field("jobs.tokenizer_info", True, draft.engine["ENABLE_TOKENIZER_INFO_ENDPOINT"].key)
    _refuse_kept_responses(draft)
    for place, variable in ENGINE_LIMITS.items():
        if place in draft.fields and (most := draft.fields[place].value):
            draft.environment[variable] = str(most)
    sizes = ("jobs.batch_size", "jobs.min_batch_size", "jobs.batch_size_growth_factor")
    chosen = [place for place in sizes if place in draft.fields]
    if any(draft.fields[place].value != field_default(place) for place in chosen):
        draft.set_field("jobs.batch_sizes_set", True, draft.fields[chosen[0]].key)


def _refuse_kept_responses(draft: SettingsBuilder) -> None:
    """Refuse vLLM's store of responses where jobs are taken: a later job cannot read it, so it only grows."""
    name = "VLLM_ENABLE_RESPONSES_API_STORE"
    if draft.env.get(name, "0").strip("0") and draft.fields["mode"].value is not Mode.HTTP:
        draft.refuse(
            name,
            "0 where jobs are taken: each job may reach another worker, and a stored response stays in the memory of "
            "this one until it stops",
            f"remove it, serve in http mode, or set IGNORE_ENV={name} to pass it to the engine anyway",
        )


def _choose_log_level(draft: SettingsBuilder) -> None:
    """LOG_LEVEL is a common name: an unknown level is ignored with a warning."""
    setting = catalog()["LOG_LEVEL"]
    key = draft.first_set(setting.name, *setting.aliases)
    if key is None:
        return
    level = LEVELS.get(draft.env[key].upper(), draft.env[key].upper())
    if level in setting.options:
        draft.set_field("log_level", level, key)
    else:
        draft.warn(f"{key}={draft.env[key]} is not a log level; INFO is used")


# The order matters: weak layers first, then the rules that need all layers.
STEPS = (
    refuse_tokens,
    take_prefixed,
    deployment.choose_mode,
    deployment.choose_engine_kind,
    read_config_file,
    read_environment,
    validation.choose_parallel_size,
    served_model.choose_model,
    served_model.find_model,
    legacy.translate,
    read_extra_args,
    validation.default_parallel_size,
    legacy.silence_statistics,
    served_model.choose_names,
    validation.check,
    deployment.fill_queue,
    deployment.fill_metrics,
    deployment.fill_http,
    deployment.limit_start,
    media_policy.choose,
    _choose_job_rules,
    _choose_log_level,
    lookalikes.warn,
)
