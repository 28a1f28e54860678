"""JSON values as compact JSON text in bytes that are always valid UTF-8."""

from __future__ import annotations

import json

COMPACT = (",", ":")


def dump(value: object, *, sort_keys: bool = False) -> bytes:
    """JSON text in UTF-8. A lone surrogate, which UTF-8 cannot encode, is written as an escape."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=COMPACT, sort_keys=sort_keys).encode()
    except UnicodeEncodeError:
        return dump_ascii(value, sort_keys=sort_keys)


def dump_ascii(value: object, *, sort_keys: bool = False) -> bytes:
    """JSON text in ASCII: every other character is an escape, so that lone surrogates survive too."""
    return json.dumps(value, separators=COMPACT, sort_keys=sort_keys).encode("ascii")


def dump_replacing(value: object) -> bytes:
    """JSON text in UTF-8, with a question mark in the place of each lone surrogate: for readers that refuse them."""
    return json.dumps(value, ensure_ascii=False, separators=COMPACT).encode("utf-8", "replace")
