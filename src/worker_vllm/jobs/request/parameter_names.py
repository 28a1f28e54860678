"""Suggestions for unknown parameter names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# Names that other engines and clients use for the same parameters.
SYNONYMS = {
    "max_new_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_length": "max_tokens",
    "num_return_sequences": "n",
    "repeat_penalty": "repetition_penalty",
    "stop_sequences": "stop",
    "temp": "temperature",
}


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name most similar to `name`, ignoring separators and case; None when none is similar."""
    spelled = {_normalized(one): one for one in known}
    if SYNONYMS.get(name.lower()) in spelled.values():
        return SYNONYMS[name.lower()]
    found = get_close_matches(_normalized(name), spelled, n=1, cutoff=0.7)
    return spelled[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` with the known name most similar to `name`; empty when none is similar."""
    found = nearest_name(name, known)
    return f"; did you mean {found}?" if found else ""


def _normalized(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
