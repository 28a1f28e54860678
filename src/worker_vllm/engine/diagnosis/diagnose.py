"""Turns an engine's exit into one sentence for its users: what happened, and what to change. Pure.

The patterns are in `container_faults`, `settings_faults` and `host_faults`. For an exit that none of them matches the
sentence quotes the log.
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

SOURCE = ("    ", '  File "')  # a traceback's lines of code contain messages before formatting
QUOTED_CHARACTERS = 400
UNTIL_LOADED = ("import", "resolve", "processes", "load")


@dataclass(frozen=True, slots=True)
class EngineExit:
    """How one run of the engine ended. `exit_code` is negative for a signal, None while a process still runs."""

    exit_code: int | None
    lines: tuple[str, ...]
    reason: str = ""  # why the worker stopped it: a process exited, a deadline passed, it stalled
    phase: str = "ready"
    was_ready: bool = False
    model: str = "the model"
    oom_killed: bool = False  # the kernel killed a process of this container during the run


@lru_cache(maxsize=8)  # 200 requests that fail together need the same diagnosis, which takes 2 ms
def diagnose(engine_exit: EngineExit) -> Diagnosis:
    """The diagnosis of an exit; never raises, whatever the log contains."""
    before_weights = not engine_exit.was_ready and engine_exit.phase in UNTIL_LOADED
    return replace(match_patterns(engine_exit), before_weights=before_weights)


def match_patterns(engine_exit: EngineExit) -> Diagnosis:
    """The diagnosis of the first pattern that matches, else a sentence that quotes the log."""
    lines = [line for line in map(plain, engine_exit.lines) if not line.startswith(SOURCE)]
    text, quote = "\n".join(lines), quotable(lines)[:QUOTED_CHARACTERS]
    now = When.RUNNING if engine_exit.was_ready else When.STARTING
    for fault in (*container_faults.PATTERNS, *settings_faults.PATTERNS, *host_faults.PATTERNS):
        if fault.when in (When.EVER, now) and (found := re.search(fault.pattern, text)):
            return from_pattern(fault, {**found.groupdict(""), "MODEL": engine_exit.model}, quote)
    return from_exit(engine_exit, quote)


def from_pattern(fault: FaultPattern, found: Mapping[str, str], quote: str) -> Diagnosis:
    """A pattern's diagnosis, its sentence formatted with the pattern's groups."""
    parts = {name: " ".join(value.split()) for name, value in found.items()}
    parts["FLAG"] = parts.get("flag", "").replace("-", "_").upper()
    sentence = f"{fault.what.format(**parts)}; {fault.change.format(**parts)}"
    return Diagnosis(fault.cause, fault.scope, sentence, fault.remedy, quote)


def from_exit(engine_exit: EngineExit, quote: str) -> Diagnosis:
    """The diagnosis of an exit that no pattern matches: how it exited, and the last message of its log."""
    did = "stopped working" if engine_exit.was_ready else f"did not start (phase: {engine_exit.phase})"
    if "was not ready" in engine_exit.reason:
        change = "raise ENGINE_START_TIMEOUT (or RUNPOD_INIT_TIMEOUT), or shorten the start with FAST_START=1"
        hint = f"; {NCCL_HINT}" if engine_exit.phase == "processes" else ""
        sentence = f"the engine {did}: {engine_exit.reason}; {change}{hint}"
        return Diagnosis(TOO_SLOW, Scope.HOST, sentence, quote=quote)
    if "no progress" in engine_exit.reason:
        change = "if it is only slow, raise ENGINE_STALL_TIMEOUT (0 switches the check off)"
        sentence = f"the engine {did}: {engine_exit.reason}; {change}"
        return Diagnosis("stalled", Scope.PASSING, sentence, quote=quote)
    if engine_exit.oom_killed:
        sentence = f"the engine {did}: the machine's memory (not the GPU's) ran out, and the kernel killed a process"
        change = "use a machine with more memory, or lower CPU_OFFLOAD_GB or MAX_CPU_LORAS, which use it"
        return Diagnosis("out of machine memory", Scope.PASSING, f"{sentence}; {change}", quote=quote)
    how = engine_exit.reason or describe_exit(engine_exit.exit_code)
    last = f'; its last message: "{quote}"' if quote else ""
    killed = engine_exit.exit_code is not None and engine_exit.exit_code < 0 and not engine_exit.reason
    cause = signal_cause(engine_exit.exit_code or 0) if killed else "died" if engine_exit.was_ready else "unknown"
    return Diagnosis(cause, Scope.PASSING, f"the engine {did}: {how}{last}; see the worker's log", quote=quote)


NCCL_HINT = (
    "processes that wait for each other are often on GPUs that cannot reach each other directly: "
    "try NCCL_P2P_DISABLE=1 and DISABLE_CUSTOM_ALL_REDUCE=1"
)


def describe_exit(exit_code: int | None) -> str:
    """An exit status as a clause of a sentence."""
    if exit_code is None:
        return "one of its processes ended"
    if exit_code >= 0:
        return f"it exited with status {exit_code}"
    hints: dict[int, str] = {
        signal.SIGKILL: " (most often the machine's memory ran out)",
        signal.SIGILL: " (the processor lacks an instruction that this build uses)",
        signal.SIGBUS: " (most often /dev/shm is full: start the container with --shm-size 1g)",
        signal.SIGSEGV: " (a crash in native code)",
    }
    return f"it was killed by {signal_name(-exit_code)}{hints.get(-exit_code, '')}"


def signal_cause(exit_code: int) -> str:
    """The cause's name for an exit by signal."""
    return f"killed by {signal_name(-exit_code)}"


def signal_name(number: int) -> str:
    """The signal's name, as `SIGKILL`; `signal 40` for a number without one, as most real-time signals are."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
