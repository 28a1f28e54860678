"""The served model and its names: the overrides first, then the repository id, never a path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from worker_vllm.settings.builder import BAKED, ENVIRONMENT, SettingsBuilder
from worker_vllm.settings.host_facts import ModelSource
from worker_vllm.settings.parsers import BadValue, parse_list
from worker_vllm.settings.rules.misplaced import refuse_model_names
from worker_vllm.settings.sources.extra_args import text_flag

DEFAULT_MODEL = "facebook/opt-125m"
# huggingface.co/org/name, with or without the scheme, also with the page of a revision or a file.
HUB = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?!(?:datasets|spaces|models|docs|collections|papers)/)"
    r"(?P<name>[\w.-]+/[\w.-]+)(?:/(?:tree|blob|resolve|commit)/(?P<revision>[^/?#]+)[^?#]*)?/?(?:[?#].*)?"
)
TAGGED = re.compile(r"(?P<name>\w[\w.-]*(?:/[\w.-]+)?)[:@](?P<revision>\w[\w./-]*)")
CACHED = re.compile(r"models--([^/]+?)--([^/]+)/snapshots/")


def choose_model(draft: SettingsBuilder) -> None:
    """Set the model to serve. A model baked into the image wins over the environment."""
    asked = _asked(draft)
    baked = baked_model(draft.facts.manifest)
    if baked:
        name = str(baked["repo_id"])
        if asked and asked.lower() != name.lower():
            draft.warn(f"MODEL_NAME={asked} is ignored: the image serves the model {name} that it contains")
        draft.set_field("engine.model", name, "WORKER_MANIFEST", BAKED)
        revision = draft.engine.pop("REVISION", None)
        if revision and revision.value not in (baked.get("revision"), baked.get("commit")):
            draft.warn(f"{revision.key}={revision.value} is ignored: the image contains commit {baked.get('commit')}")
    elif asked:
        draft.set_field("engine.model", asked, "MODEL_NAME")
    elif "ENGINE_URL" not in draft.env and "engine.model" not in draft.fields and not refuse_model_names(draft):
        draft.warn(f"MODEL_NAME is not set: the documented default {DEFAULT_MODEL} is served")


def find_model(draft: SettingsBuilder) -> None:
    """Search the host for the model's files, whose config.json later rules need; not where a server is attached."""
    if "ENGINE_URL" in draft.env:
        return
    chosen = draft.fields.get("engine.model")
    revision, directory = (text_flag(draft, name) or draft.flag_value(name) for name in ("REVISION", "DOWNLOAD_DIR"))
    source = ModelSource(chosen.value if chosen else DEFAULT_MODEL, revision, directory)
    draft.facts = draft.facts.with_model(source)


def _asked(draft: SettingsBuilder) -> str | None:
    """The repository id or path in MODEL_NAME; a hub page's address is split into repository and revision."""
    asked = draft.env.get("MODEL_NAME")
    if asked is None:
        return None
    address = HUB.fullmatch(asked)
    if address is None:
        _refuse_name(draft, asked)
        return asked
    name, revision = address["name"], address["revision"]
    draft.warn(f"MODEL_NAME={asked} is read as {name}" + (f", revision {revision}" if revision else ""))
    if revision and "REVISION" not in draft.engine:
        draft.set_flag("REVISION", unquote(revision), ENVIRONMENT, "MODEL_NAME")
    return name


def _refuse_name(draft: SettingsBuilder, asked: str) -> None:
    """Refuse a name that is no repository id, no path and no object store's address."""
    if asked.startswith(("http://", "https://")):
        change = "write it as org/name, as the model's page on the hub shows it"
        draft.refuse("MODEL_NAME", "a repository id (org/name) or a path, not an address", change)
    elif tagged := TAGGED.fullmatch(asked):
        draft.refuse(
            "MODEL_NAME",
            "a repository id without a revision behind it",
            f"write MODEL_NAME={tagged['name']} and MODEL_REVISION={tagged['revision']}",
        )


def baked_model(manifest: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The main model of an image's manifest; None without a readable one, which preflight reports."""
    models = (manifest or {}).get("models")
    entries = [entry for entry in models if isinstance(entry, Mapping)] if isinstance(models, list) else []
    return next((entry for entry in entries if entry.get("role") == "model" and entry.get("repo_id")), None)


def choose_names(draft: SettingsBuilder) -> None:
    """Set the names that clients may request; the first is reported and fills in a missing `model`."""
    chosen = draft.fields.get("engine.model")
    model = chosen.value if chosen else DEFAULT_MODEL
    try:
        names = _names(draft.env.get("OPENAI_SERVED_MODEL_NAME_OVERRIDE", ""))
    except BadValue as bad:
        draft.refuse("OPENAI_SERVED_MODEL_NAME_OVERRIDE", bad.expected, bad.change)
        names = []
    if served := draft.engine.pop("SERVED_MODEL_NAME", None):
        names += served.value
    own = repository_name(model)
    key = draft.first_set("OPENAI_SERVED_MODEL_NAME_OVERRIDE", "SERVED_MODEL_NAME") or "MODEL_NAME"
    draft.set_field("engine.served_names", tuple(dict.fromkeys([*names, own])), key, ENVIRONMENT)


def _names(text: str) -> list[str]:
    if text.startswith("["):
        return parse_list(text)
    return [name.strip() for name in text.split(",") if name.strip()]


def repository_name(model: str) -> str:
    """The name of a model for clients: its repository id, the id in a hub cache's path, or a path's last part."""
    if match := CACHED.search(model):
        return f"{match[1]}/{match[2]}"
    if model.startswith(("/", "./", "../", "~")) or model.count("/") > 1:
        return model.rstrip("/").rsplit("/", 1)[-1]
    return model
