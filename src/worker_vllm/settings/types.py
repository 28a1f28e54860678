"""The frozen settings that the rest of the worker reads; `load` fills them from an environment.

Each group belongs to one package. Field names carry the unit; defaults are the documented ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Mode(StrEnum):
    """How requests reach this process."""

    QUEUE = "queue"
    HTTP = "http"
    LOCAL = "local"


class EngineKind(StrEnum):
    """Which engine serves the requests."""

    VLLM = "vllm"
    ECHO = "echo"
    ATTACH = "attach"


class Secret:
    """A text whose repr and str are masked; only `reveal()` returns it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text in clear."""
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
    """The engine process: the model, its arguments and environment, and the time limits of its start."""

    kind: EngineKind = EngineKind.VLLM
    url: str | None = None  # ENGINE_URL, for EngineKind.ATTACH: http://host:port or unix:/path
    model: str = "facebook/opt-125m"
    served_names: tuple[str, ...] = (
        "facebook/opt-125m",
    )  # the first is reported to clients and fills in a missing `model`
    arguments: tuple[str, ...] = ()  # `vllm serve` argv after the model, without the socket
    environment: Mapping[str, str] = field(default_factory=dict)  # extra variables of the engine process
    withheld: tuple[str, ...] = ()  # VLLM_ variables that the worker has read and the engine process does not get
    files: Mapping[str, str] = field(default_factory=dict)  # variable → content of the file that it names, per launch
    rope: RopeChange | None = None  # merged with the model's config.json once that is on disk
    start_timeout_s: float = 400.0
    stall_timeout_s: float = 120.0
    fast_start: bool = False
    adopts_socket: bool = False  # its server also accepts on a socket that the worker has bound: http mode
    loader_arguments: tuple[str, ...] = ()  # weight loader chosen by the worker; dropped when a start with it fails


@dataclass(frozen=True, slots=True)
class JobSettings:
    """How jobs are parsed and answered: defaults, batch sizes, error format."""

    batch_size: int = 50
    min_batch_size: int = 1
    batch_size_growth_factor: float = 3.0
    batch_sizes_set: bool = False  # set by the operator: the exact batch schedule holds for OpenAI streams too
    raw_openai_output: bool = True
    default_max_tokens: int = 16
    native_model_defaults: bool = False  # NATIVE_SAMPLING_DEFAULTS=model
    inline_errors: bool = False  # OPENAI_ERRORS=inline
    max_logprobs: int = 20
    allow_lora_updates: bool = False
    tokenizer_info: bool = False  # ENABLE_TOKENIZER_INFO_ENDPOINT opens the engine's route of that name


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Upper limits of one request; 0 means no limit. Derived from measurements in benchmarks/README.md."""

    schema_bytes: int = 262_144  # all schemas, grammars and tools of a request together
    schema_depth: int = 64
    schema_alternatives: int = 2000
    n: int = 128  # sequences of a prompt
    prompts: int = 256
    sequences: int = 1024  # of all prompts of a request
    stop: int = 256
    inputs: int = 2048  # of an embedding, score or rerank request


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """What a request may ask the engine to fetch or to run. The defaults are the safe ones."""

    media_domains: tuple[str, ...] = ()  # hosts that media may be fetched from, in lower case; `*`: any public one
    local_media: bool = False  # file:// URLs, which the engine limits to ALLOWED_LOCAL_MEDIA_PATH
    chat_templates: bool = False
    mm_kwargs: bool = False  # mm_processor_kwargs and media_io_kwargs
    media: int = 128  # images, sounds and videos of one request; 0 means no limit


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """RunPod's job protocol: the platform's URLs, with the worker's own placeholders replaced."""

    worker_id: str = "local"
    api_key: Secret = field(default_factory=lambda: Secret(""))  # the Authorization header as it is, without "Bearer"
    take_url: str = ""
    done_url: str = ""  # with $ID in place of the job id
    stream_url: str = ""  # with $ID in place of the job id
    ping_url: str | None = None
    ping_interval_s: float = 10.0
    max_concurrency: int = 300
    drain_timeout_s: float = 25.0
    recycle_after_jobs: int | None = None
    spool_directory: str | None = None


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Ports and client key of http mode, behind a load balancer."""

    port: int = 80
    health_port: int | None = None  # None: the same as port
    api_key: Secret = field(default_factory=lambda: Secret(""))  # bearer tokens of clients, with commas; empty: none
    api_keys_file: str | None = None  # one key a line; read again whenever it changes
    max_body_bytes: int = 30_000_000
    translate: bool = False  # TRANSLATE_HTTP: translate what the engine would ignore, instead of refusing it
    health_path: str = "/ping"


@dataclass(frozen=True, slots=True)
class SettingOrigin:
    """One effective value and the layer that set it."""

    name: str
    value: object
    source: str  # "default", "config file", "environment", "VLLM_EXTRA_ARGS", "baked model"


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration of one worker process."""

    mode: Mode = Mode.QUEUE
    engine: EngineSettings = field(default_factory=EngineSettings)
    jobs: JobSettings = field(default_factory=JobSettings)
    limits: RequestLimits = field(default_factory=RequestLimits)
    policy: RequestPolicy = field(default_factory=RequestPolicy)
    queue: QueueSettings = field(default_factory=QueueSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    log_format: str = "auto"  # json, text, or auto: json on the platform
    log_level: str = "INFO"
    metrics_address: tuple[str, int] | None = None  # host and port of /metrics; None: not served
    crash_bundle_prompts: bool = False  # whether crash bundles contain requests' bodies
    origins: tuple[SettingOrigin, ...] = ()
    warnings: tuple[str, ...] = ()  # one line for each translated, ignored or obsolete setting
    secrets: tuple[Secret, ...] = ()  # every secret of the environment, for redaction of logs and errors
