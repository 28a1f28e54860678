"""Translates the guided_* fields of vLLM 0.6 to `structured_outputs`.

vLLM 0.32 ignores them: it would answer 200 with unconstrained text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker_vllm.errors import RequestError

KINDS: Mapping[str, str] = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "guided_json_object": "json_object",
    "guided_whitespace_pattern": "whitespace_pattern",
}
BACKEND = "guided_decoding_backend"
NESTED = "guided_decoding"  # vLLM 0.6's sampling parameter: an object with the same names, unprefixed
GUIDED_KEYS = (*KINDS, BACKEND, NESTED)


def translate_guided(fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` with `structured_outputs` instead of the guided_* fields; null ones are dropped.

    Raises RequestError when both are given, or when a backend is given, which only the server can choose.
    """
    kept = {key: value for key, value in fields.items() if key not in GUIDED_KEYS}
    guided = {name: fields[key] for key, name in KINDS.items() if fields.get(key) is not None}
    backend = fields.get(BACKEND)
    nested = fields.get(NESTED)
    if nested is not None:
        if not isinstance(nested, Mapping):
            raise RequestError(f"{NESTED}: expected an object, got {type(nested).__name__}", param=NESTED)
        guided |= {key: value for key, value in nested.items() if value is not None and key != "backend"}
        backend = backend or nested.get("backend")
    if backend is not None:
        raise RequestError(
            f"{BACKEND}: a request cannot choose the backend any more; leave it out, or set the endpoint's "
            "GUIDED_DECODING_BACKEND",
            param=BACKEND,
        )
    if not guided:
        return kept
    if kept.get("structured_outputs") is not None:
        raise RequestError("guided_* and structured_outputs: give one of them", param="structured_outputs")
    return {**kept, "structured_outputs": guided}
