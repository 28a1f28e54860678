"""The intended differences between the engine and an endpoint that serves it: each with its route, field, reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.parity.compare import Seen, same

CHAT, COMPLETIONS, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/messages"


@dataclass(frozen=True, slots=True)
class Translation:
    """A request that the engine would misunderstand in silence: its answer is that to `instead`, or a refusal."""

    route: str
    field: str
    reason: str
    body: Mapping[str, Any]
    instead: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The engine's own answer in another form; a route includes the routes below it."""

    route: str
    field: str
    reason: str


IGNORED = "vLLM 0.32 answers 200 and ignores it"
CHOICE = ["yes", "no"]
ABC = [{"role": "user", "content": "abc"}]

TRANSLATIONS = (
    Translation(
        CHAT,
        "messages",
        "the specification allows a text, vLLM 0.32 refuses one",
        {"messages": "abc"},
        {"messages": ABC},
    ),
    Translation(CHAT, "best_of", IGNORED, {"messages": ABC, "best_of": 3}, {"messages": ABC}),
    Translation(COMPLETIONS, "best_of", IGNORED, {"prompt": "abc", "best_of": 1, "n": 2}, None),
    Translation(CHAT, "early_stopping", IGNORED, {"messages": ABC, "early_stopping": True}, None),
    Translation(COMPLETIONS, "early_stopping", IGNORED, {"prompt": "abc", "early_stopping": "never"}, None),
    Translation(
        CHAT,
        "guided_*",
        IGNORED,
        {"messages": ABC, "guided_choice": CHOICE},
        {"messages": ABC, "structured_outputs": {"choice": CHOICE}},
    ),
    Translation(
        COMPLETIONS,
        "guided_*",
        IGNORED,
        {"prompt": "abc", "guided_choice": CHOICE},
        {"prompt": "abc", "structured_outputs": {"choice": CHOICE}},
    ),
    Translation(
        MESSAGES,
        "model",
        "the one route that insists on a name, which an endpoint of one model can fill in",
        {"messages": ABC, "model": None},
        {"messages": ABC},
    ),
)
REWRITES = (
    Rewrite("*", "status", "a stream whose first event is an error has that error's status, not 200"),
    Rewrite(MESSAGES, "error", "an error has Anthropic's form on this route, also where vLLM gives it OpenAI's"),
)


# In http mode clients talk to the engine's own server: answers are never rewritten, and requests are translated with
# TRANSLATE_HTTP=1 only. Without it these are refused, by the engine itself or by the guard: (route, field).
HTTP_REWRITES: tuple[Rewrite, ...] = ()
REFUSED_BY_THE_ENGINE = {(CHAT, "messages"), (MESSAGES, "model")}


def explained(route: str, direct: Seen, ours: Seen, rewrites: Sequence[Rewrite] = REWRITES) -> Rewrite | None:
    """The rewrite that explains the whole difference between two answers; None where none does."""
    for rewrite in rewrites:
        if (rewrite.route == "*" or route.startswith(rewrite.route)) and same(
            _rewritten(rewrite, direct), [ours.status, ours.value]
        ):
            return rewrite
    return None


def _rewritten(rewrite: Rewrite, direct: Seen) -> list[Any]:
    """The engine's answer after this rewrite; unchanged where the rewrite does not apply."""
    value = direct.value
    if rewrite.field == "status" and isinstance(value, list) and "error" in value[0]:
        return [value[0]["error"]["code"], value[0]]
    if rewrite.field == "error" and isinstance(value, dict) and "error" in value and "type" not in value:
        error = value["error"]
        return [direct.status, {"type": "error", "error": {"type": error["type"], "message": error["message"]}}]
    return [direct.status, value]
