"""Reads the phase of the start and the reason of a failure from a worker's log lines."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

# Text that vLLM 0.32 logs at the beginning of a phase of its start, and our name of the phase.
PHASES = (
    ("Resolved architecture", "reading the model's configuration"),
    ("Initializing a V1 LLM engine", "starting the engine's core"),
    ("world_size=", "starting the engine's workers"),
    ("Starting to load model", "loading the weights"),
    ("Loading weights took", "preparing the model"),
    ("KV cache size", "warming up"),
    ("init engine (profile", "starting the engine's server"),
    ("the engine is ready", "the engine is ready"),
)


# A diagnosis as the worker logs it: the message, then its cause and scope, then the engine's own line.
DIAGNOSIS = re.compile(r"(.+?) \[[^\[\]]+, \w+\](?:; the engine's last message: .*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a worker's log."""

    level: str
    message: str
    engine: bool = False

    @property
    def phase(self) -> str | None:
        """The phase of the start that begins with this line, None for any other line."""
        return next((phase for mark, phase in PHASES if mark in self.message), None)

    @property
    def needs_attention(self) -> bool:
        """Whether to show the line: the worker's own warnings and errors, and text that is not a log line."""
        return not self.engine and self.level not in ("DEBUG", "INFO")

    @property
    def reason(self) -> str | None:
        """The reason why a worker cannot serve, if this line contains one; it may be the worker's last line."""
        if self.engine or self.level not in ("ERROR", "CRITICAL"):
            return None
        match = DIAGNOSIS.fullmatch(self.message)
        return match[1] if match else self.message


def read_line(text: str) -> LogLine:
    """Parse a worker's JSON log line; any other text becomes a line of the level TEXT."""
    try:
        fields = json.loads(text)
        message = fields["message"]
    except (ValueError, TypeError, KeyError):
        return LogLine("TEXT", text)
    return LogLine(str(fields.get("level", "INFO")), str(message), engine=fields.get("source") == "engine")
