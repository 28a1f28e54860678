"""The frozen settings that the rest of the worker reads; `load` fills them from an environment.

Each group belongs to one room of the house. Fields have the unit in their name; defaults are the documented ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Mode(StrEnum):
    """How jobs reach this process."""

    QUEUE = "queue"
    HTTP = "http"
    LOCAL = "local"


class EngineKind(StrEnum):
    """Which engine answers."""

    VLLM = "vllm"
    ECHO = "echo"
    ATTACH = "attach"


class Secret:
    """A text that never shows itself: `reveal()` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "'***'"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True)
class RopeChange:
    """RoPE settings that need the model's config.json to become complete; `key` is the variable they came from."""

    key: str
    scaling: Mapping[str, Any] | None = None
    theta: float | None = None


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The child: what is started, with which arguments, and how long it may take."""

    kind: EngineKind = EngineKind.VLLM
    url: str | None = None  # ENGINE_URL, for EngineKind.ATTACH: http://host:port or unix:/path
    model: str = "facebook/opt-125m"
    served_names: tuple[str, ...] = ("facebook/opt-125m",)  # first is the one reported and filled in
    arguments: tuple[str, ...] = ()  # `vllm serve` argv after the model; neither socket nor model path in it
    environment: Mapping[str, str] = field(default_factory=dict)  # extra variables for the child only
    withheld: tuple[str, ...] = ()  # variables that the child does not get: VLLM_ names that the worker has read
    rope: RopeChange | None = None  # to be merged with the model's config.json once that is on disk
    start_timeout_s: float = 400.0
    stall_timeout_s: float = 120.0
    fast_start: bool = False
    loader_arguments: tuple[str, ...] = ()  # how to read the weights: our choice, taken back if a start fails


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What jobs may rely on when they leave something out."""

    batch_size: int = 50
    min_batch_size: int = 1
    batch_size_growth_factor: float = 3.0
    batch_sizes_set: bool = False  # the operator chose: the exact schedule holds for OpenAI streams too
    raw_openai_output: bool = True
    default_max_tokens: int = 16
    native_model_defaults: bool = False  # NATIVE_SAMPLING_DEFAULTS=model
    inline_errors: bool = False  # OPENAI_ERRORS=inline
    max_logprobs: int = 20
    allow_lora_updates: bool = False
    tokenizer_info: bool = False  # ENABLE_TOKENIZER_INFO_ENDPOINT opens the engine's route of that name


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may ask of the engine at most; 0 is no limit. benchmarks/README.md has what they come from."""

    schema_bytes: int = 262_144  # of everything that becomes a grammar, tools included
    schema_depth: int = 64
    schema_alternatives: int = 2000
    n: int = 128  # sequences of a prompt
    prompts: int = 256
    sequences: int = 1024  # of all prompts of a request together
    stop: int = 256
    inputs: int = 2048  # of an embedding, a score, a ranking


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """RunPod's job protocol: addresses as the platform gave them, placeholders replaced."""

    worker_id: str = "local"
    api_key: Secret = field(default_factory=lambda: Secret(""))  # sent as it is, without "Bearer"
    take_url: str = ""
    done_url: str = ""  # still holds $ID for the job's id
    stream_url: str = ""  # still holds $ID for the job's id
    ping_url: str | None = None
    ping_interval_s: float = 10.0
    max_concurrency: int = 300
    drain_timeout_s: float = 25.0
    recycle_after_jobs: int | None = None
    spool_directory: str | None = None


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """http mode: where a load-balancing platform reaches this worker."""

    port: int = 80
    health_port: int | None = None  # the same port when None
    api_key: Secret = field(default_factory=lambda: Secret(""))  # what clients must show; nothing when empty


@dataclass(frozen=True, slots=True)
class Origin:
    """One effective value and where it came from."""

    name: str
    value: object
    source: str  # "default", "config file", "environment", "VLLM_EXTRA_ARGS", "baked model"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the worker knows about what it was asked to be."""

    mode: Mode = Mode.QUEUE
    engine: EngineSettings = field(default_factory=EngineSettings)
    jobs: JobSettings = field(default_factory=JobSettings)
    limits: RequestLimits = field(default_factory=RequestLimits)
    queue: QueueSettings = field(default_factory=QueueSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    log_format: str = "auto"  # json, text, or auto: json where the platform runs us
    log_level: str = "INFO"
    metrics_address: tuple[str, int] | None = None  # host and port of /metrics in queue mode
    origins: tuple[Origin, ...] = ()
    warnings: tuple[str, ...] = ()  # one line each: translated, ignored, obsolete
    secrets: tuple[Secret, ...] = ()  # every secret of the environment, for whoever must redact
