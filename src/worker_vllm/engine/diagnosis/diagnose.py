"""From what the engine said last to one sentence for its users: the cause, whose fault it is, what to change. Pure.

The rows live in `container`, `mistakes` and `endings`; an ending that none of them knows is quoted, not guessed at.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from worker_vllm.engine.diagnosis import container_faults, host_faults, settings_faults
from worker_vllm.engine.diagnosis.log_excerpt import plain, quotable
from worker_vllm.engine.diagnosis.types import TOO_SLOW, Diagnosis, FaultPattern, Scope, When

SOURCE = ("    ", '  File "')  # a traceback's lines of code quote messages before they are filled in
QUOTED_CHARACTERS = 400
UNTIL_LOADED = ("import", "resolve", "processes", "load")


@dataclass(frozen=True, slots=True)
class EngineExit:
    """How one life of the engine ended. `exit_code` is negative for a signal, None while something still runs."""

    exit_code: int | None
    lines: tuple[str, ...]
    reason: str = ""  # why we ended it: a process died, a deadline passed, it stalled
    phase: str = "ready"
    was_ready: bool = False
    model: str = "the model"
    oom_killed: bool = False  # the kernel killed something in this container meanwhile


@lru_cache(maxsize=8)  # 200 requests that break off together ask the same, and a look through the log takes 2 ms
def diagnose(ending: EngineExit) -> Diagnosis:
    """The diagnosis of an ending; never fails, whatever was said."""
    before_weights = not ending.was_ready and ending.phase in UNTIL_LOADED
    return replace(look_up(ending), before_weights=before_weights)


def look_up(ending: EngineExit) -> Diagnosis:
    """The first row that knows this ending, or what can be said without one."""
    lines = [line for line in map(plain, ending.lines) if not line.startswith(SOURCE)]
    text = "\n".join(lines)
    now = When.RUNNING if ending.was_ready else When.STARTING
    for row in (*container_faults.ROWS, *settings_faults.ROWS, *host_faults.ROWS):
        if row.when in (When.EVER, now) and (found := re.search(row.pattern, text)):
            return known(row, {**found.groupdict(""), "MODEL": ending.model}, quotable(lines)[:QUOTED_CHARACTERS])
    return unknown(ending, quotable(lines)[:QUOTED_CHARACTERS])


def known(row: FaultPattern, found: Mapping[str, str], quote: str) -> Diagnosis:
    """A row's diagnosis, its sentence filled with what the pattern found."""
    parts = {name: " ".join(value.split()) for name, value in found.items()}
    parts["FLAG"] = parts.get("flag", "").replace("-", "_").upper()
    sentence = f"{row.what.format(**parts)}; {row.change.format(**parts)}"
    return Diagnosis(row.cause, row.scope, sentence, row.remedy, quote)


def unknown(ending: EngineExit, quote: str) -> Diagnosis:
    """What can be said without knowing the ending: how it came, and the engine's last meaningful words."""
    did = "stopped working" if ending.was_ready else f"did not start (phase: {ending.phase})"
    if "was not ready" in ending.reason:
        change = "raise ENGINE_START_TIMEOUT (or RUNPOD_INIT_TIMEOUT), or shorten the start with FAST_START=1"
        hint = f"; {NCCL_HINT}" if ending.phase == "processes" else ""
        sentence = f"the engine {did}: {ending.reason}; {change}{hint}"
        return Diagnosis(TOO_SLOW, Scope.HOST, sentence, quote=quote)
    if "no progress" in ending.reason:
        sentence = f"the engine {did}: {ending.reason}; if it is only slow, raise ENGINE_STALL_TIMEOUT (0: never)"
        return Diagnosis("stalled", Scope.PASSING, sentence, quote=quote)
    if ending.oom_killed:
        sentence = (
            f"the engine {did}: the machine's memory (not the GPU's) ran out, and the kernel killed a part of it"
        )
        change = (
            "use a machine with more memory, or lower what the engine keeps there (CPU_OFFLOAD_GB, MAX_CPU_LORAS)"
        )
        return Diagnosis("out of machine memory", Scope.PASSING, f"{sentence}; {change}", quote=quote)
    how = ending.reason or ended(ending.exit_code)
    said = f'; it said last: "{quote}"' if quote else ""
    killed = ending.exit_code is not None and ending.exit_code < 0 and not ending.reason
    cause = signal_cause(ending.exit_code or 0) if killed else "died" if ending.was_ready else "unknown"
    return Diagnosis(cause, Scope.PASSING, f"the engine {did}: {how}{said}; see the worker's log", quote=quote)


NCCL_HINT = (
    "processes that wait for each other for ever are often GPUs that cannot reach each other directly: "
    "try NCCL_P2P_DISABLE=1 and DISABLE_CUSTOM_ALL_REDUCE=1"
)


def ended(exit_code: int | None) -> str:
    """An exit status in words."""
    if exit_code is None:
        return "one of its processes ended"
    if exit_code >= 0:
        return f"it ended with status {exit_code}"
    hint = {
        signal.SIGKILL: " (most often the machine's memory ran out)",
        signal.SIGILL: " (the processor lacks an instruction that this build uses)",
        signal.SIGBUS: " (most often /dev/shm is full: start the container with --shm-size 1g)",
        signal.SIGSEGV: " (a crash in native code)",
    }.get(signal.Signals(-exit_code), "")
    return f"it was ended by {signal.Signals(-exit_code).name}{hint}"


def signal_cause(exit_code: int) -> str:
    """The cause's name for an end by signal."""
    return f"killed by {signal.Signals(-exit_code).name}"
