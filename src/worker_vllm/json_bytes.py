"""Values to JSON text, compact, as bytes that are always valid UTF-8."""

from __future__ import annotations

import json


def dump(value: object) -> bytes:
    """JSON text in UTF-8. A lone surrogate, which UTF-8 cannot hold, stays an escape."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return dump_ascii(value)


def dump_ascii(value: object) -> bytes:
    """JSON text in ASCII: every character the caller sent survives, lone surrogates included."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")
