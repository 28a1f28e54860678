"""The routes that a job may reach: an exact list, everything else is closed.

A spelling is looked up as it is. Nothing is decoded, normalised or joined, and what is sent to the engine is the
entry's own path, so no spelling of anything else can get through.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from worker_vllm.errors import NotFound, RequestError


class Family(Enum):
    """What a route's bodies have in common."""

    CHAT = auto()
    COMPLETIONS = auto()
    RESPONSES = auto()
    MESSAGES = auto()  # Anthropic's
    AUDIO = auto()  # the body goes on as multipart
    PLAIN = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """One data route of the engine."""

    path: str
    method: str = "POST"
    family: Family = Family.PLAIN
    needs_model: bool = False  # vLLM 0.32 takes an absent name for its own everywhere else

    @property
    def ends_with_done(self) -> bool:
        """Whether a stream of this route must close with `[DONE]`; the others have final events of their own."""
        return self.family in (Family.CHAT, Family.COMPLETIONS)


DATA_ROUTES = (
    Route("/v1/models", "GET"),
    Route("/v1/chat/completions", family=Family.CHAT),
    Route("/v1/completions", family=Family.COMPLETIONS),
    Route("/v1/chat/completions/batch"),
    Route("/v1/responses", family=Family.RESPONSES),
    Route("/v1/messages", family=Family.MESSAGES, needs_model=True),
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
ROUTE_KEYS = ("openai_route", "route")  # where a job's input names its route

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
TOKENIZE = "/tokenize"
MODELS = "/v1/models"


def find_route(
    path: object, method: object = None, *, lora_updates: bool = False, tokenizer_info: bool = False
) -> Route:
    """The open route with exactly this path. Raises NotFound, or RequestError for another method than its own."""
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


def unable(route: Route) -> NotFound:
    """What a caller is told whose route is open here and unknown to the engine: it has those its model can serve."""
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
    """Whether this is a route of Anthropic's, whose clients expect errors in a form of their own."""
    return path in ANTHROPIC_PATHS
