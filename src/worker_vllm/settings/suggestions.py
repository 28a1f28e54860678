"""The known name nearest to a mistyped one: one edit away, other separators, or a common abbreviation."""

from __future__ import annotations

from collections.abc import Iterable

SHORTEST = 5  # shorter names are one edit away from too many words
USUAL = {
    "MEM": "MEMORY",
    "UTIL": "UTILIZATION",
    "UTILISATION": "UTILIZATION",
    "LENGTH": "LEN",
    "NUMBER": "NUM",
    "CTX": "CONTEXT",
    "SEQUENCES": "SEQS",
    "SEQUENCE": "SEQ",
    "PARALLELISM": "PARALLEL",
    "EXEC": "EXECUTOR",
    "DISTRIB": "DISTRIBUTED",
    "TEMPL": "TEMPLATE",
    "SPEC": "SPECULATIVE",
    "QUANT": "QUANTIZATION",
    "QUANTISATION": "QUANTIZATION",
    "CONCURRENT": "CONCURRENCY",
    "LORAS": "LORA",
    "SETTINGS": "CONFIG",
}
SYNONYMS = {
    "TP": "TENSOR_PARALLEL_SIZE",
    "TP_SIZE": "TENSOR_PARALLEL_SIZE",
    "TENSOR_PARALLEL": "TENSOR_PARALLEL_SIZE",
    "PP_SIZE": "PIPELINE_PARALLEL_SIZE",
    "PIPELINE_PARALLEL": "PIPELINE_PARALLEL_SIZE",
    "DP_SIZE": "DATA_PARALLEL_SIZE",
    "DATA_PARALLEL": "DATA_PARALLEL_SIZE",
    "CONTEXT_LENGTH": "MAX_MODEL_LEN",
    "MAX_CONTEXT_LEN": "MAX_MODEL_LEN",
    "MAX_CONTEXT_LENGTH": "MAX_MODEL_LEN",
    "MAX_SEQ_LEN": "MAX_MODEL_LEN",
    "GPU_UTILIZATION": "GPU_MEMORY_UTILIZATION",
    "GPU_MEMORY": "GPU_MEMORY_UTILIZATION",
    "MODEL_ID": "MODEL_NAME",
    "SERVED_NAME": "SERVED_MODEL_NAME",
    "MAX_SEQS": "MAX_NUM_SEQS",
    "MAX_CONCURRENT_REQUESTS": "MAX_CONCURRENCY",
    "MAX_CONCURRENT_JOBS": "MAX_CONCURRENCY",
    "CHAT_TEMPLATE_PATH": "CUSTOM_CHAT_TEMPLATE",
    "BATCH_SIZE": "DEFAULT_BATCH_SIZE",
}


class KnownNames:
    """An index of known names, searched with unknown ones."""

    def __init__(self, known: Iterable[str], others: Iterable[str] = ()) -> None:
        """`others` match names one edit away only, not other spellings."""
        self._known = frozenset(known)
        self._by_normalized: dict[str, str] = {}
        self._ends: dict[str, list[str]] = {}
        for name in sorted(self._known):
            self._by_normalized.setdefault(normalized(name), name)
        for name in (*self._known, *others):
            if len(name) >= SHORTEST:
                for end in ends(name):
                    self._ends.setdefault(end, []).append(name)

    def best_match(self, name: str) -> str | None:
        """The most probable known name for an unknown one; None without a candidate."""
        return next(iter(self.candidates(name)), None)

    def candidates(self, name: str) -> list[str]:
        """Every known name similar to an unknown one, the most probable first."""
        found = []
        if (synonym := SYNONYMS.get(name)) in self._known and synonym:
            found.append(synonym)
        if (same := self._by_normalized.get(normalized(name))) and len(name) >= SHORTEST and "_" in same:
            found.append(same)
        alike = {known for end in ends(name) for known in self._ends.get(end, ())}
        return found + sorted(known for known in alike if single_edit(name, known))


def ends(name: str) -> tuple[str, str]:
    """The first and last two letters of a name: a single edit leaves one of the pairs intact."""
    return f"{name[:2]}…", f"…{name[-2:]}"


def normalized(name: str) -> str:
    """A name with case, separators and abbreviations normalized."""
    tokens = name.upper().replace("-", "_").replace(".", "_").split("_")
    return "".join(USUAL.get(token, token) for token in tokens)


def single_edit(one: str, other: str) -> bool:
    """Whether one insertion, deletion, replacement or swap of neighbours turns one text into the other."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    shortest = min(len(one), len(other))
    start = next((at for at in range(shortest) if one[at] != other[at]), shortest)
    if len(one) == len(other):
        swapped = one[:start] + one[start : start + 2][::-1] + one[start + 2 :]
        return one[start + 1 :] == other[start + 1 :] or swapped == other
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    return longer[start + 1 :] == shorter[start:]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known text most similar to the word, for a suggestion in an error; None when none is similar."""
    from difflib import get_close_matches

    names = {name.lower(): name for name in known}
    found = get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return names[found[0]] if found else None
