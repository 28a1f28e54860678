"""The right name for a wrong one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# Names that other engines and clients use for the same.
MEANT = {
    "max_new_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_length": "max_tokens",
    "num_return_sequences": "n",
    "repeat_penalty": "repetition_penalty",
    "stop_sequences": "stop",
    "temp": "temperature",
}


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name nearest to `name`, separators and case aside; None when none is near."""
    spelled = {_spelling(one): one for one in known}
    if MEANT.get(name.lower()) in spelled.values():
        return MEANT[name.lower()]
    found = get_close_matches(_spelling(name), spelled, n=1, cutoff=0.7)
    return spelled[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` with the known name nearest to `name`, or nothing when none is near."""
    found = nearest_name(name, known)
    return f"; did you mean {found}?" if found else ""


def _spelling(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
