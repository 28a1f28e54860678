"""A translation as text: an env file, a shell command, or JSON. No form contains the value of a secret."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict

from worker_vllm.settings.translation.translate import Translation

START = ("worker-vllm", "start")


def env_file(found: Translation) -> str:
    """NAME=value lines; a secret stands without a value, which docker and this worker take from the environment."""
    lines = [f"# {note}" for note in found.notes]
    for name, text in found.variables.items():
        if "\n" in text:
            lines.append(f"# {name}: several lines, which an env file cannot hold; --format shell can")
        else:
            lines.append(f"{name}={_quoted(text)}")
    return "\n".join([*lines, *found.secrets])


def shell(found: Translation) -> str:
    """One command with its variables before it; secrets are expected in the environment."""
    notes = [f"# {note}" for note in found.notes]
    notes += [f"# {name}: set it in the environment" for name in found.secrets]
    words = [f"{name}={shlex.quote(text)}" for name, text in found.variables.items()]
    return "\n".join([*notes, " ".join([*words, shlex.join(found.command or START)])])


def as_json(found: Translation) -> str:
    """One object: variables, names of secrets, command, notes."""
    return json.dumps(asdict(found), ensure_ascii=False, indent=2)


def _quoted(text: str) -> str:
    """A text that begins and ends with the same quote is quoted once more: a reader removes one pair."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return f"'{text}'" if text[0] == '"' else f'"{text}"'
    return text
