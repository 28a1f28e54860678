"""The bodies of the console's API as types, for the description; imported only with it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class EngineChoice(BaseModel):
    """An engine that endpoints of the form may run, and whether it is installed here."""

    id: str
    title: str
    help: str
    installed: bool


class FormGroup(BaseModel):
    """Fields of the form under one title."""

    model_config = ConfigDict(extra="allow")

    title: str
    names: list[str]


class FormContent(BaseModel):
    """The form: its groups, and its fields by variable as in worker-config.json."""

    version: str
    image: str
    cuda: str
    groups: list[FormGroup]
    fields: dict[str, dict[str, Any]]
    engines: list[EngineChoice]


class FilledForm(BaseModel):
    """A filled form: the fields that differ from their initial value."""

    name: str
    engine: Literal["echo", "vllm"]
    kind: Literal["queue", "load-balancer"] = "queue"
    values: dict[str, str | int | float | bool]


class FieldProblem(BaseModel):
    """One problem, and the field that it is about, where it is one of the form."""

    model_config = ConfigDict(extra="allow")

    text: str
    field: str | None


class FormReport(BaseModel):
    """What `worker-vllm config check` says of the form, and what the form amounts to."""

    ok: bool
    summary: str
    problems: list[FieldProblem]
    warnings: list[str]
    outputs: dict[str, str]


class EndpointNamed(BaseModel):
    """The endpoint that is being started or stopped."""

    name: str


class JobStep(BaseModel):
    """One step of a job's way; `at` is seconds since 1970."""

    name: str
    at: float
    detail: str
    tone: str


class WebhookState(BaseModel):
    """What has become of a job's webhook: its state, the tries so far, and the last answer."""

    state: Literal["not due", "sending", "trying again", "postponed", "delivered", "given up", "unknown"]
    tries: int
    answer: str


class JobPage(BaseModel):
    """Everything about one job; times are seconds since 1970."""

    id: str
    endpoint: str
    state: str
    kind: str
    preview: str
    created: float
    started: float | None
    ended: float | None
    worker: str | None
    retries: int
    error: str | None
    pieces: int
    steps: list[JobStep]
    input: Any
    input_bytes: int
    output: Any
    output_bytes: int
    webhook: WebhookState | None
