"""From a worker's log lines to what a person wants to know: which part of the start is under way, what went wrong."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

# What vLLM 0.32 logs when a part of its start begins, and how we name that part.
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


# A diagnosis as the worker logs it: the sentence, then its cause and scope, then what the engine said.
DIAGNOSIS = re.compile(r"(.+?) \[[^\[\]]+, \w+\](?:; the engine's last message: .*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a worker's log."""

    level: str
    message: str
    engine: bool = False

    @property
    def phase(self) -> str | None:
        """The part of the start that begins with this line, None for any other line."""
        return next((phase for mark, phase in PHASES if mark in self.message), None)

    @property
    def alarming(self) -> bool:
        """Whether a person should see it: the worker's own warnings and errors, and words that are no log line."""
        return not self.engine and self.level not in ("DEBUG", "INFO")

    @property
    def reason(self) -> str | None:
        """Why no worker can serve, where this line says it; it may be the last before the worker's end."""
        if self.engine or self.level not in ("ERROR", "CRITICAL"):
            return None
        match = DIAGNOSIS.fullmatch(self.message)
        return match[1] if match else self.message


def read_line(text: str) -> Line:
    """A worker's JSON log line; any other text is a line of its own that counts as an error."""
    try:
        fields = json.loads(text)
        message = fields["message"]
    except (ValueError, TypeError, KeyError):
        return Line("TEXT", text)
    return Line(str(fields.get("level", "INFO")), str(message), engine=fields.get("source") == "engine")
