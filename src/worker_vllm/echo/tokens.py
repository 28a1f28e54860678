"""The echo engine's tokens: one per character, its id the code point; the chat template's markers are above Unicode.

So every count is `len(text)`, no delta splits a character, and a list of ids can be decoded to its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from worker_vllm.errors import RequestError

END = 0x110000
ROLES = {"system": 0x110001, "user": 0x110002, "assistant": 0x110003, "tool": 0x110004}
MARKERS = {END: "<|end|>", **{token: f"<|{role}|>" for role, token in ROLES.items()}}


def encode(text: str) -> list[int]:
    """The text's tokens; a lone surrogate, which UTF-8 cannot encode, becomes U+FFFD."""
    return [0xFFFD if 0xD800 <= code < 0xE000 else code for code in map(ord, text)]


def decode(tokens: Iterable[int], *, markers: bool = False) -> str:
    """The text of tokens; the template's markers only with `markers`. Raises RequestError for an unknown id."""
    return "".join([_character(token, markers) for token in tokens])


def _character(token: int, markers: bool) -> str:
    if token in MARKERS:
        return MARKERS[token] if markers else ""
    if not 0 <= token < END or 0xD800 <= token < 0xE000:
        raise RequestError(f"Token id {token} is out of vocabulary", param="prompt")
    return chr(token)


def content_text(content: Any) -> str:
    """The text of a message's content: a string, or its text parts joined; media parts are ignored."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(
            part if isinstance(part, str) else str(part.get("text") or "")
            for part in content
            if isinstance(part, str | Mapping)
        )
    raise RequestError("1 validation error:\n  message content must be text or a list of parts", param="messages")


def render(messages: Sequence[Mapping[str, Any]], *, generation_prompt: bool = True) -> list[int]:
    """The chat template: `<|role|>content<|end|>` per message, then `<|assistant|>` for the answer."""
    tokens: list[int] = []
    for message in messages:
        role = ROLES.get(str(message.get("role")), ROLES["system"])
        tokens += [role, *encode(content_text(message.get("content"))), END]
    return [*tokens, ROLES["assistant"]] if generation_prompt else tokens


def reply_text(tokens: Sequence[int]) -> str:
    """The text that the reply repeats: the last user message of a rendered chat, or a plain prompt."""
    start = 0
    for position, token in enumerate(tokens):
        if token == ROLES["user"]:
            start = position + 1
    if start == 0:
        return decode(tokens)
    try:
        return decode(tokens[start : tokens.index(END, start)])
    except ValueError:
        return decode(tokens[start:])
