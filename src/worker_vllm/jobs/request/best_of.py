"""`best_of` and beam width, which vLLM 0.32 no longer has: generate more sequences and return the best ones.

Sampled sequences are ranked by their cumulative log-probability; a beam search returns its beams already ranked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker_vllm.errors import RequestError

Choice = dict[str, Any]
# Response fields that ranking requests, and the body field with which the caller asks to see each of them.
HIDDEN_UNLESS = {"logprobs": "logprobs", "token_ids": "return_token_ids", "prompt_token_ids": "return_token_ids"}


@dataclass(frozen=True, slots=True)
class Ranking:
    """Generate `width` sequences of each prompt and return the best `keep`."""

    keep: int
    width: int
    beam: bool


@dataclass(frozen=True, slots=True)
class RankedAnswer:
    """The response with the best sequences, and the number of tokens of each."""

    answer: dict[str, Any]
    counts: tuple[int, ...]


def extract_ranking(body: Mapping[str, Any], max_logprobs: int) -> tuple[dict[str, Any], Ranking | None]:
    """The body without best_of and early_stopping, and its ranking; None when it needs none.

    Raises RequestError for a combination that the engine cannot run.
    """
    kept = {key: value for key, value in body.items() if key not in ("best_of", "early_stopping")}
    _check_early_stopping(body.get("early_stopping"))
    beam = bool(body.get("use_beam_search"))
    if body.get("best_of") is None and not beam:
        return kept, None
    keep = positive_int(body, "n")
    width = positive_int(body, "best_of", keep)
    if width < keep:
        raise RequestError(f"best_of: expected n={keep} or more, got {width}", param="best_of")
    if beam and 0 <= max_logprobs < 2 * width:
        raise RequestError(
            f"best_of: a beam search of width {width} needs {2 * width} log-probabilities a token and this endpoint "
            f"allows {max_logprobs}; ask for at most {max_logprobs // 2} beams, or raise MAX_LOGPROBS",
            param="best_of" if "best_of" in body else "n",
        )
    greedy = body.get("temperature") == 0  # all sequences would be equal, and vLLM refuses n > 1 then
    if not beam and (width == keep or greedy):
        return kept, None
    return {**kept, "n": width}, Ranking(keep, width, beam)


def ranking_body(body: Mapping[str, Any], ranking: Ranking, *, chat: bool) -> dict[str, Any]:
    """The body of a request that `rank_answer` can rank: no stream, with log-probabilities and token ids."""
    asked = {key: value for key, value in body.items() if key not in ("stream", "stream_options")}
    if not ranking.beam and not _asks_for(body, "logprobs"):
        asked["logprobs"] = True if chat else 0
    return {**asked, "return_token_ids": True}


def rank_answer(answer: Mapping[str, Any], ranking: Ranking, body: Mapping[str, Any]) -> RankedAnswer:
    """The best sequences of each prompt, with the fields that `body` asks for; the usage counts only these."""
    choices = sorted(answer.get("choices") or (), key=lambda choice: int(choice["index"]))
    kept: list[Choice] = []
    for start in range(0, len(choices), ranking.width):
        group = choices[start : start + ranking.width]
        if not ranking.beam:
            group.sort(key=score, reverse=True)
        kept += group[: ranking.keep]
    counts = tuple(len(choice.get("token_ids") or ()) for choice in kept)
    usage = dict(answer.get("usage") or {})
    usage["completion_tokens"] = sum(counts)
    usage["total_tokens"] = (usage.get("prompt_tokens") or 0) + sum(counts)
    hidden = [key for key, wish in HIDDEN_UNLESS.items() if not _asks_for(body, wish)]
    shown = [
        {**choice, **{key: None for key in hidden if key in choice}, "index": index}
        for index, choice in enumerate(kept)
    ]
    return RankedAnswer({**answer, "choices": shown, "usage": usage}, counts)


def score(choice: Choice) -> float:
    """The sum of a sequence's log-probabilities, in the completions or the chat form."""
    logprobs = choice.get("logprobs") or {}
    if logprobs.get("content") is not None:
        return sum(float(token["logprob"]) for token in logprobs["content"])
    return sum(float(value) for value in logprobs.get("token_logprobs") or () if value is not None)


def positive_int(fields: Mapping[str, Any], key: str, default: int = 1) -> int:
    """The field as a whole number of 1 or more; null means the default. Raises RequestError for anything else."""
    value = fields.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestError(f"{key}: expected a whole number, 1 or more, got {value!r:.80}", param=key)
    return value


def _asks_for(body: Mapping[str, Any], wish: str) -> bool:
    return body.get(wish) is not None and body[wish] is not False


def _check_early_stopping(value: object) -> None:
    if value not in (None, False):
        raise RequestError(
            f"early_stopping: expected false, got {value!r:.80}; this engine's beam search always runs to its end",
            param="early_stopping",
        )
