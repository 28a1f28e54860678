"""Multimodal limits, which were `image=1,video=0` and are a JSON object now."""

from __future__ import annotations

from worker_vllm.settings.builder import ENVIRONMENT, SettingsBuilder
from worker_vllm.settings.parsers import BadValue, parse_int, parse_object

NAME = "LIMIT_MM_PER_PROMPT"


def translate(draft: SettingsBuilder) -> None:
    """Both spellings of LIMIT_MM_PER_PROMPT."""
    if NAME not in draft.env:
        return
    try:
        draft.set_flag(NAME, read_limits(draft.env[NAME]), ENVIRONMENT, NAME)
    except BadValue as bad:
        draft.refuse(NAME, bad.expected, bad.change)


def read_limits(text: str) -> dict[str, object]:
    """How many items of each kind a prompt may hold. Raises BadValue."""
    if text.lstrip().startswith("{"):
        return parse_object(text)
    limits: dict[str, object] = {}
    for item in filter(None, (part.strip() for part in text.replace(";", ",").split(","))):
        kind, equals, count = item.partition("=")
        if not equals:
            raise BadValue("kind=count items or a JSON object", "write image=1,video=0")
        limits[kind.strip()] = parse_int(count.strip())
    return limits
