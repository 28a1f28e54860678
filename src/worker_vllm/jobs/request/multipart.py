"""Audio requests: a file in base64 or a data URL in a JSON body becomes a multipart/form-data request."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from worker_vllm.engine.interface import EngineRequest
from worker_vllm.errors import RequestError
from worker_vllm.json_bytes import dump

FILE = "file"
EXTENSIONS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "mp4": "mp4", "x-m4a": "m4a"}


def multipart_request(path: str, body: Any) -> EngineRequest:
    """The multipart request for a JSON body whose `file` is base64 or a data URL; `filename` names it.

    Raises RequestError when the body has no such file.
    """
    if not isinstance(body, Mapping) or not isinstance(body.get(FILE), str):
        given = body.get(FILE) if isinstance(body, Mapping) else body
        kind = "nothing" if given in (None, {}) else type(given).__name__
        raise RequestError(
            f"file: expected the audio as base64 text or as a data URL in a JSON body, got {kind}; a multipart form "
            'cannot travel inside a job: send {"file": "<base64>", "model": …}',
            param=FILE,
        )
    content, kind = _decode_file(body[FILE])
    name = body.get("filename") or f"audio.{EXTENSIONS.get(kind, kind)}"
    boundary = hashlib.sha256(content).hexdigest()
    parts = [_part(boundary, key, value) for key, value in _fields(body)]
    disposition = f'form-data; name="{FILE}"; filename="{_quoted(name)}"'
    parts.append(_header(boundary, disposition, f"audio/{kind}") + content + b"\r\n")
    form = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return EngineRequest("POST", path, form, {"Content-Type": f"multipart/form-data; boundary={boundary}"})


def _fields(body: Mapping[str, Any]) -> list[tuple[str, object]]:
    """The body's other fields: a list becomes one field per element, null is left out."""
    found: list[tuple[str, object]] = []
    for key, value in body.items():
        if key in (FILE, "filename") or value is None:
            continue
        found += [(key, item) for item in value] if isinstance(value, list) else [(key, value)]
    return found


def _decode_file(text: str) -> tuple[bytes, str]:
    kind = "wav"
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        kind = head.removeprefix("data:").partition(";")[0].rpartition("/")[2] or kind
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("file: expected base64 text or a data URL, got something else", param=FILE) from None
    if not content:
        raise RequestError("file: expected audio, got nothing", param=FILE)
    return content, kind if kind.isalnum() or kind in EXTENSIONS else "wav"


def _part(boundary: str, key: str, value: object) -> bytes:
    text = value.encode("utf-8", "replace") if isinstance(value, str) else dump(value)
    return _header(boundary, f'form-data; name="{_quoted(key)}"', None) + text + b"\r\n"


def _header(boundary: str, disposition: str, kind: str | None) -> bytes:
    lines = [f"--{boundary}", f"Content-Disposition: {disposition}", *([f"Content-Type: {kind}"] if kind else [])]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "replace")


def _quoted(name: object) -> str:
    """The name with quotes and line ends percent-encoded, as HTML forms do."""
    return str(name).replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
