"""Multimodal limits: the old format `image=1,video=0` and today's JSON object."""

from __future__ import annotations

from worker_vllm.settings.builder import ENVIRONMENT, SettingsBuilder
from worker_vllm.settings.parsers import BadValue, parse_int, parse_object

NAME = "LIMIT_MM_PER_PROMPT"


def translate(draft: SettingsBuilder) -> None:
    """Read LIMIT_MM_PER_PROMPT in either format."""
    if NAME not in draft.env:
        return
    try:
        draft.set_flag(NAME, read_limits(draft.env[NAME]), ENVIRONMENT, NAME)
    except BadValue as bad:
        draft.refuse(NAME, bad.expected, bad.change)


def read_limits(text: str) -> dict[str, object]:
    """The most items of each kind in a prompt. Raises BadValue."""
    if text.lstrip().startswith("{"):
        return parse_object(text)
    limits: dict[str, object] = {}
    for item in filter(None, (part.strip() for part in text.replace(";", ",").split(","))):
        kind, equals, count = item.partition("=")
        if not equals:
            raise BadValue("kind=count items or a JSON object", "write image=1,video=0")
        limits[kind.strip()] = parse_int(count.strip())
    return limits
