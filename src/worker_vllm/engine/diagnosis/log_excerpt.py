"""Selects the one line of the engine's log that a diagnosis quotes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# (EngineCore pid=12) ERROR 11-22 14:00:07 [core.py:1510] text
PREFIX = re.compile(
    r"^(?:\([^)]*\) )?(?:(?:ERROR|WARNING|INFO|CRITICAL) [\d-]+ [\d:]+ \[[^\]]*\] ?)?(?:\[rank\d+\]: ?)?"
)
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
EXCEPTION = re.compile(r"^[\w.]+(?:Error|Exception|Exit|Interrupt|Terminated)(?:: .*)?$")
IGNORED = "Exception ignored in"
# Messages of a process about another process's exit; never the cause.
WRAPPERS = re.compile(
    r"Engine core initialization failed|WorkerProc initialization failed|EngineDeadError|See stack"
    r"|^(?:KeyboardInterrupt|SystemExit|BrokenPipeError|ConnectionResetError|EOFError|zmq\.error\.\w+"
    r"|(?:asyncio\.exceptions\.)?CancelledError)(?:$|:)"
)
NOISE = re.compile(
    r"^\s*$|^Traceback |^  |^ - leaked|^\s*[\^~]+\s*$|^Process \S+:$|\[shutdown\]|\d%\||\d% Completed \|"
    r"|it/s\]|resource_tracker|Warning:|^nanobind: "
)


def plain(line: str) -> str:
    """A line without vLLM's prefix, colours, and text that a carriage return overwrote."""
    shown = ESCAPES.sub("", line).rstrip("\r").rpartition("\r")[2]
    return PREFIX.sub("", shown, count=1)


def quotable(lines: Sequence[str]) -> str:
    """The last exception that is a cause, else the last line that is no noise, else the last exception, else ''."""
    relevant = without_ignored(lines)
    exceptions = [line for line in relevant if EXCEPTION.match(line)]
    causes = [line for line in exceptions if not WRAPPERS.search(line)]
    messages = [line for line in relevant if not NOISE.search(line) and not WRAPPERS.search(line)]
    return next((found[-1].strip() for found in (causes, messages, exceptions) if found), "")


def without_ignored(lines: Iterable[str]) -> list[str]:
    """The lines without the tracebacks of exceptions that Python ignores at exit."""
    kept, ignoring = [], False
    for line in lines:
        if line.startswith(IGNORED):
            ignoring = True
        elif not ignoring:
            kept.append(line)
        elif EXCEPTION.match(line):
            ignoring = False
    return kept
