"""Values to JSON text as bytes that are always valid UTF-8."""

from __future__ import annotations

import json
from typing import Any


def dump(value: Any, *, sort_keys: bool = False) -> bytes:
    """JSON text in UTF-8; a lone surrogate (half an emoji), which UTF-8 cannot hold, stays the escape it came as."""
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=sort_keys).encode()
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=sort_keys).encode()
