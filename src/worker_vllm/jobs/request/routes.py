"""The allow-list of engine routes that jobs may use.

The job's path is looked up exactly as it is, without decoding or normalisation, and the request to the engine uses
the path of the entry. So no other path can reach the engine, however it is spelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from worker_vllm.errors import NotFound, RequestError


class Family(Enum):
    """Routes whose bodies have the same form."""

    CHAT = auto()
    COMPLETIONS = auto()
    AUDIO = auto()  # the body is sent to the engine as multipart/form-data
    PLAIN = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """One data route of the engine."""

    path: str
    method: str = "POST"
    family: Family = Family.PLAIN
    needs_model: bool = False  # on its other routes, vLLM 0.32 accepts a request without a model

    @property
    def ends_with_done(self) -> bool:
        """Whether a stream of this route must end with `[DONE]`; the others have final events of their own."""
        return self.family in (Family.CHAT, Family.COMPLETIONS)


DATA_ROUTES = (
    Route("/v1/models", "GET"),
    Route("/v1/chat/completions", family=Family.CHAT),
    Route("/v1/completions", family=Family.COMPLETIONS),
    Route("/v1/chat/completions/batch"),
    Route("/v1/responses"),
    Route("/v1/messages", needs_model=True),
    Route("/v1/messages/count_tokens", needs_model=True),
    Route("/v1/embeddings"),
    Route("/v2/embed"),
    Route("/pooling"),
    Route("/classify"),
    Route("/score"),
    Route("/v1/score"),
    Route("/rerank"),
    Route("/v1/rerank"),
    Route("/v2/rerank"),
    Route("/generative_scoring"),
    Route("/tokenize"),
    Route("/detokenize"),
    Route("/v1/audio/transcriptions", family=Family.AUDIO),
    Route("/v1/audio/translations", family=Family.AUDIO),
    Route("/v1/audio/speech"),
)
LORA_ROUTES = (Route("/v1/load_lora_adapter"), Route("/v1/unload_lora_adapter"))
TOKENIZER_INFO = Route("/tokenizer_info", "GET")
ANTHROPIC_PATHS = ("/v1/messages", "/v1/messages/count_tokens")
ROUTE_KEYS = ("openai_route", "route")  # the fields of a job's input that contain its route

# Routes on which the engine generates or pools nothing.
UNREPORTED = frozenset(("/v1/models", "/tokenizer_info", "/tokenize", "/detokenize", "/v1/messages/count_tokens")) | {
    route.path for route in LORA_ROUTES
}

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
TOKENIZE = "/tokenize"
MODELS = "/v1/models"


def find_route(
    path: object, method: object = None, *, lora_updates: bool = False, tokenizer_info: bool = False
) -> Route:
    """The open route with exactly this path. Raises NotFound, or RequestError for another method than the route's."""
    table = _BY_PATH | (_LORA_BY_PATH if lora_updates else {})
    if tokenizer_info:
        table[TOKENIZER_INFO.path] = TOKENIZER_INFO
    route = table.get(path) if isinstance(path, str) else None
    if route is None:
        if isinstance(path, str) and path in _OPENED_BY:
            raise NotFound(f"{path} is closed on this endpoint; {_OPENED_BY[path]}=1 opens it")
        raise NotFound(f"the route {str(path)[:200]!r} is not open to jobs; open are: {', '.join(table)}")
    if method is not None and (not isinstance(method, str) or method.upper() != route.method):
        raise RequestError(f"{route.path} takes {route.method}, got {str(method)[:20]!r}", param="method")
    return route


_BY_PATH = {route.path: route for route in DATA_ROUTES}
_LORA_BY_PATH = {route.path: route for route in LORA_ROUTES}
_OPENED_BY = {
    **dict.fromkeys(_LORA_BY_PATH, "VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
    TOKENIZER_INFO.path: "ENABLE_TOKENIZER_INFO_ENDPOINT",
}


def route_not_served(route: Route) -> NotFound:
    """The error for an open route that the engine does not have: vLLM serves only the routes that fit its model."""
    does = next((words for part, words in _DOES.items() if part in route.path), "that")
    return NotFound(
        f"{route.path}: the model served here cannot {does}: the engine offers this route only for models that can; "
        "ask an endpoint whose model is made for it",
        param="model",
    )


_DOES = {
    "embed": "make embeddings",
    "speech": "speak",
    "transcriptions": "transcribe audio",
    "translations": "translate audio",
    "rerank": "rank documents",
    "score": "score texts",
    "scoring": "score texts",
    "classify": "classify",
    "pooling": "pool",
    "chat": "chat",
    "completions": "generate text",
    "messages": "chat",
    "responses": "generate text",
}


def speaks_anthropic(path: object) -> bool:
    """Whether the route is one of Anthropic's API, whose clients expect errors in Anthropic's form."""
    return path in ANTHROPIC_PATHS
