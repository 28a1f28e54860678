"""The setting that an unknown name resembles too weakly for an error: shared words, or another server's name for it.

`suggestions` finds slips that are certain enough to refuse. What is found here becomes a warning, so a rule that
names a variable of a shell, a CI runner or a cluster is worse than no rule: words that such names share with settings
(PORT, PATH, LOG …) count little, and a name that shares only those resembles nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from worker_vllm.settings.suggestions import USUAL

ALIASES = Path(__file__).parent / "catalog" / "aliases.json"
LEAST = 0.6  # share of the words' weight that both names have
PART = 0.5  # the same where one name begins or ends with the other
MOST_FOREIGN = 1  # words of full weight that the setting does not have
COMMON = 0.3  # weight of a word that many programs use
HALF = 0.5  # weight of a word of this field that does not identify a setting by itself
COMMON_WORDS = frozenset(
    (
        *("ENABLE", "DISABLE", "ENFORCE", "USE", "MAX", "MIN", "NUM", "SIZE", "NAME", "TYPE", "MODE", "PATH", "DIR"),
        *(
            "FILE",
            "FORMAT",
            "CONFIG",
            "DEFAULT",
            "LEVEL",
            "LOG",
            "LIMIT",
            "URL",
            "PORT",
            "HOST",
            "HF",
            "VLLM",
            "EXTRA",
        ),
        *("WORKER", "ENGINE", "METHOD", "TIMEOUT", "KEY", "POOL", "ROLE", "DEVICE", "ADDRESS", "ENV", "REQUEST"),
        *(
            "CODE",
            "DATA",
            "START",
            "STAT",
            "DEPTH",
            "BYTE",
            "INPUT",
            "MEDIA",
            "STOP",
            "TASK",
            "FAST",
            "METRICS",
            "GB",
            "PER",
        ),
    )
)
HALF_WORDS = frozenset(
    {"MODEL", "TOKEN", "OPENAI", "GPU", "MEMORY", "HUB", "CPU", "API", "CACHE", "PROMPT", "RUNNER", "CONVERT", "SEED"}
)
SAME_WORD = {
    **USUAL,
    "FRACTION": "UTILIZATION",
    "DRAFT": "SPECULATIVE",
    "ALGORITHM": "METHOD",
    "ADDITIONAL": "EXTRA",
    "ADAPTERS": "MODULES",
    "REV": "REVISION",
    "ARGUMENTS": "ARGS",
}
ENDING = re.compile(r"(?<=\w{4})(?:IZATION|IZED|IZE|ING|ISM|ENCY|ENT|ED|ES|S|E)$")
HUB_TOKEN = re.compile(r"(?:HF|HUGGING_?FACE(?:_?HUB)?)_(?:\w+_)?(?:TOKEN|KEY)")
# Kubernetes describes every service of a namespace in variables that begin with the service's name.
SERVICE_LINK = re.compile(
    r"\w+_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PORT|PROTO|ADDR))?)"
)


class Resemblances:
    """An index of settings by their words."""

    def __init__(self, known: Iterable[str]) -> None:
        """Among equally similar names the first of `known` wins."""
        self._known = {name: words(name) for name in known}
        self._by_word: dict[str, list[str]] = {}
        for name, own in self._known.items():
            for word in own:
                self._by_word.setdefault(word, []).append(name)

    def find(self, name: str) -> str | None:
        """The setting that an unknown name resembles most, None without one."""
        name = name.upper().replace("-", "_")
        if alias := aliases().get(name):
            return alias[1]
        if HUB_TOKEN.fullmatch(name):
            return "HF_TOKEN"
        if SERVICE_LINK.fullmatch(name):
            return None
        return self._most_similar(name)

    def _most_similar(self, name: str) -> str | None:
        own = words(name)
        candidates = {known for word in own if weight(word) == 1 for known in self._by_word.get(word, ())}
        scores = {known: self._score(own, known) for known in self._known if known in candidates}
        best = max(scores, key=lambda known: scores[known], default=None)
        return best if best is not None and scores[best] > 0 else None

    def _score(self, own: tuple[str, ...], known: str) -> float:
        """The similarity of a name's words to a known name's, 0 where it is too small to mention."""
        other = self._known[known]
        both, either = set(own) & set(other), set(own) | set(other)
        if sum(weight(word) == 1 for word in set(own) - both) > MOST_FOREIGN:
            return 0.0
        score = sum(map(weight, both)) / sum(map(weight, either))
        part = len(own) > 1 and own in (other[: len(own)], other[-len(own) :])
        if score < (PART if part else LEAST):
            return 0.0
        return score + part


def words(name: str) -> tuple[str, ...]:
    """A name's words without endings, abbreviations written out."""
    return tuple(_stem(word) for word in re.split(r"[^A-Z0-9]+", name.upper()) if word)


def _stem(word: str) -> str:
    return ENDING.sub("", SAME_WORD.get(word, word))


def weight(word: str) -> float:
    """How much a word says about the setting that is meant."""
    return _weights().get(word, 1.0)


@cache
def _weights() -> Mapping[str, float]:
    half = {_stem(word): HALF for word in HALF_WORDS}
    return half | {_stem(word): COMMON for word in COMMON_WORDS}


@cache
def aliases() -> Mapping[str, tuple[str, str]]:
    """Names of other servers: name → (server, our name); the server is empty for names of no server in particular."""
    return dict(_read_aliases())


def _read_aliases() -> Iterator[tuple[str, tuple[str, str]]]:
    for server, names in json.loads(ALIASES.read_text(encoding="utf-8")).items():
        for name, meant in names.items():
            yield name, (server, meant)
