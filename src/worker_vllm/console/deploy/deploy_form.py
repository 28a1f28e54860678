"""The console's form: the fields of worker-config.json, and the two that RunPod's own console has beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from worker_vllm.errors import RequestError
from worker_vllm.forms.form import worker_config
from worker_vllm.forms.image import CUDA, IMAGE, VLLM
from worker_vllm.settings.sources.served_model import DEFAULT_MODEL

LONGEST_VALUE = 20_000
LONGEST_NAME = 40
ENGINES = ("echo", "vllm")
QUEUE, BALANCED = "queue", "load-balancer"
OWN_FIELDS: dict[str, dict[str, Any]] = {
    "MODEL_NAME": {
        "env_var_name": "MODEL_NAME",
        "value": "",
        "title": "Model",
        "description": "Repository on the Hugging Face hub, or a directory. Empty: "
        f"{DEFAULT_MODEL} on RunPod, the embedded model on this machine.",
        "required": False,
        "type": "text",
        "placeholder": "Qwen/Qwen3-8B",
    },
    "HF_TOKEN": {
        "env_var_name": "HF_TOKEN",
        "value": "",
        "title": "Hugging Face token",
        "description": "For gated and private models. It stays in this page and in the process that you start; "
        "no link, command or file below contains it.",
        "required": False,
        "type": "text",
    },
}
SECRET_FIELDS = ("HF_TOKEN",)


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """A filled form: the fields that differ from their initial value, as environment variables."""

    name: str
    engine: str
    environment: Mapping[str, str]
    kind: str = QUEUE  # or BALANCED

    @property
    def public_environment(self) -> dict[str, str]:
        """The variables without secrets."""
        return {name: value for name, value in self.environment.items() if name not in SECRET_FIELDS}


@cache
def form_fields() -> dict[str, dict[str, Any]]:
    """Every field of the form by its variable."""
    return {**OWN_FIELDS, **worker_config()["schema"]}


@cache
def form_document() -> dict[str, Any]:
    """The form for the page: groups of names, and the fields."""
    categories = worker_config()["versions"][VLLM]["categories"]
    groups: list[dict[str, Any]] = [{"title": "Model and access", "names": list(OWN_FIELDS), "first": True}]
    groups += [{"title": category["title"], "names": category["settings"]} for category in categories]
    return {"version": VLLM, "image": IMAGE, "cuda": CUDA, "groups": groups, "fields": form_fields()}


def read_deploy_request(payload: Any) -> DeployRequest:
    """Parse `{"name", "engine", "kind", "values"}`. Raises RequestError, for variables outside of the form too."""
    if not isinstance(payload, Mapping) or not isinstance(payload.get("values"), Mapping):
        raise RequestError('expected {"name": text, "engine": text, "kind": text, "values": {variable: value}}')
    engine, name, kind = payload.get("engine"), payload.get("name"), payload.get("kind", QUEUE)
    if engine not in ENGINES:
        raise RequestError(f"engine={engine!r}: expected one of {', '.join(ENGINES)}")
    if kind not in (QUEUE, BALANCED):
        raise RequestError(f"kind={kind!r}: expected {QUEUE} or {BALANCED}")
    if not isinstance(name, str):
        raise RequestError(f"name={name!r}: expected a text")
    values = {str(key): _text(str(key), value) for key, value in payload["values"].items()}
    unknown = values.keys() - form_fields().keys()
    if unknown:
        raise RequestError(f"{', '.join(sorted(unknown))}: not a field of the form")
    environment = {key: text for key, text in values.items() if text.strip()}
    return DeployRequest(name.strip(), str(engine), environment, str(kind))


def _text(name: str, value: Any) -> str:
    """A field's value as the platform puts it into the environment."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise RequestError(f"{name}: expected a text, a number or a switch")
    text = str(value)
    if len(text) > LONGEST_VALUE or "\0" in text:
        raise RequestError(f"{name}: expected at most {LONGEST_VALUE} characters and no null character")
    return text
