"""The checks of a JSON request, and its translation, with the functions that queue mode uses. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker_vllm.errors import RequestError
from worker_vllm.jobs.request.best_of import Ranking
from worker_vllm.jobs.request.guided_decoding import GUIDED_KEYS
from worker_vllm.jobs.request.openai_compat import RANKED_KEYS, TRANSLATED, lacks_model, translate_body
from worker_vllm.jobs.request.request_limits import find_exceeded_limit
from worker_vllm.jobs.request.request_policy import find_refusal
from worker_vllm.jobs.request.routes import Route
from worker_vllm.json_bytes import dump_ascii
from worker_vllm.web.guard_settings import GuardSettings

# Objects and lists of one body, counted by their brackets, those inside texts included. 30 MB of empty lists would
# occupy the parser, and so the engine's event loop, for 3 s.
LARGEST_STRUCTURE = 500_000


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """A request that the engine may get: the bytes, and the parsed body with its ranking where it needs one."""

    content: bytes
    body: Mapping[str, Any]
    ranking: Ranking | None = None


def check(route: Route, content: bytes, settings: GuardSettings) -> CheckedRequest:
    """The request for the engine. Raises RequestError when a limit, the policy or the engine's ways forbid it.

    The bytes stay as they are unless a field is translated. A body that is no JSON object passes too: the engine
    refuses it in its own words.
    """
    if not content.strip():
        return CheckedRequest(content, {})
    body = parse(content)
    if not isinstance(body, dict):
        return CheckedRequest(content, {})
    if refusal := find_refusal(body, settings.policy, route):
        raise RequestError(str(refusal), param=refusal.param)
    max_logprobs = settings.max_logprobs if route.generates else -1
    if found := find_exceeded_limit(body, settings.limits, max_logprobs):
        raise RequestError(str(found), param=found.param)
    if not settings.translate:
        _refuse_ignored(route, body)
        return CheckedRequest(content, body)
    translated, ranking = translate_body(route, body, settings.max_logprobs)
    if lacks_model(route, translated) and settings.served_name:
        translated = {**translated, "model": settings.served_name}
    same = translated is body
    return CheckedRequest(content if same else dump_ascii(translated), translated, ranking)


def parse(content: bytes) -> Any:
    """The JSON value in UTF-8. Raises RequestError for other bytes, and for an object with a name twice.

    Parsers differ in which of two values counts: the guard must not see another one than the engine.
    """
    if content.count(b"{") + content.count(b"[") > LARGEST_STRUCTURE:
        raise RequestError(f"the body: expected at most {LARGEST_STRUCTURE} objects and lists", param="body")
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_object)
    except RecursionError:
        raise RequestError("the body: expected a few hundred levels of nesting at most", param="body") from None
    except UnicodeDecodeError:
        raise RequestError("the body: expected JSON in UTF-8, got other bytes", param="body") from None
    except ValueError as error:
        raise RequestError(f"the body: expected JSON: {str(error)[:200]}", param="body") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError(f"the body: {twice[:80]!r} stands twice in one object", param="body")
    return found


def _refuse_ignored(route: Route, body: Mapping[str, Any]) -> None:
    """Raise RequestError for a field that the engine would accept and ignore."""
    if route.family not in TRANSLATED:
        return
    for key in (*RANKED_KEYS, *GUIDED_KEYS):
        if body.get(key) not in (None, False):
            raise RequestError(
                f"{key}: the engine ignores it; leave it out, or set the endpoint's TRANSLATE_HTTP=1, which "
                "translates it",
                param=key,
            )
