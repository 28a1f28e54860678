"""Decides what follows an exit of the engine, by the scope of its diagnosis. Pure; the healthy time is an argument.

settings → stay up and fail every job with the diagnosis; host → take no jobs and exit; passing → relaunch within a
budget per cause that ten healthy minutes refill, then exit. Tried once before these: a relaunch with smaller
settings, or with the revision resolved again; and before all, one without the loader that the worker chose, if that
loader may be the cause. No relaunch changes a value that the user set.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from worker_vllm.engine.diagnosis.types import TOO_SLOW, Diagnosis, Remedy, Scope
from worker_vllm.settings.arguments import COMPILATION_FLAGS, EngineArguments
from worker_vllm.settings.types import EngineSettings

RETRIES = 2  # relaunches per passing cause
HEALTHY_S = 600.0


class Action(StrEnum):
    """What follows an exit."""

    RELAUNCH = "relaunch"
    REFUSE = "refuse"  # stay up, fail every job with the diagnosis
    LEAVE = "leave"  # take no jobs, exit non-zero


@dataclass(frozen=True, slots=True)
class Decision:
    """The action, and what a relaunch changes in the engine's command line."""

    action: Action
    added: tuple[str, ...] = ()
    own_loader: bool = False  # without the loader that the worker chose

    def onto(self, settings: EngineSettings) -> EngineSettings:
        """The settings of the next launch."""
        loader = () if self.own_loader else settings.loader_arguments
        return replace(settings, arguments=(*settings.arguments, *self.added), loader_arguments=loader)

    def changes(self, settings: EngineSettings) -> str:
        """What changes, as the end of the log line `relaunching the engine…`; empty where nothing does."""
        without = f" without {' '.join(settings.loader_arguments)}" if self.own_loader else ""
        return without + (f" with {' '.join(self.added)}" if self.added else "")


# Causes with scope SETTINGS that a chosen loader can produce: it is unknown here, or needs too much memory.
LOADER_CAUSES = ("bad flag", "bad value", "out of memory at load")

# The smaller settings; each is skipped if the user set one of the flags before it.
SMALLER: dict[Remedy, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = {
    Remedy.LESS_MEMORY: (
        (("--gpu-memory-utilization", "--kv-cache-memory-bytes"), ("--gpu-memory-utilization", "0.85")),
        (("--max-num-seqs",), ("--max-num-seqs", "64")),
        (("--max-num-batched-tokens",), ("--max-num-batched-tokens", "8192")),
        (COMPILATION_FLAGS, ("--enforce-eager",)),
    ),
    Remedy.SHORTER_CONTEXT: ((("--max-model-len",), ("--max-model-len", "auto")),),
}


@dataclass
class RelaunchPolicy:
    """Owned by the supervisor; remembers what was tried over all launches of the engine."""

    _spent: dict[str, int] = field(default_factory=dict)
    _remedied: set[Remedy] = field(default_factory=set)

    def decide(self, diagnosis: Diagnosis, settings: EngineSettings, healthy_s: float) -> Decision:
        """What to do after this exit of an engine that had been ready for `healthy_s` seconds."""
        if healthy_s >= HEALTHY_S:
            self._spent.clear()
        if settings.loader_arguments and may_be_the_loader(diagnosis):
            return Decision(Action.RELAUNCH, own_loader=True)
        remedy = diagnosis.remedy
        if remedy is not None and remedy not in self._remedied:
            self._remedied.add(remedy)
            added = smaller(remedy, settings.arguments)
            if added or remedy is Remedy.AGAIN:
                return Decision(Action.RELAUNCH, added)
        if diagnosis.scope is Scope.SETTINGS:
            return Decision(Action.REFUSE)
        if diagnosis.scope is Scope.PASSING and self._spent.get(diagnosis.cause, 0) < RETRIES:
            self._spent[diagnosis.cause] = self._spent.get(diagnosis.cause, 0) + 1
            return Decision(Action.RELAUNCH)
        return Decision(Action.LEAVE)


def may_be_the_loader(diagnosis: Diagnosis) -> bool:
    """Whether a start failed while or before weights were loaded, by a cause that the chosen loader can produce."""
    if not diagnosis.before_weights or diagnosis.cause == TOO_SLOW:
        return False
    return diagnosis.scope is not Scope.SETTINGS or diagnosis.cause in LOADER_CAUSES


def smaller(remedy: Remedy, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The remedy's arguments, without those for which the user set a value."""
    given = EngineArguments(arguments)
    chosen = [added for owners, added in SMALLER.get(remedy, ()) if not given.has(*owners)]
    return tuple(argument for added in chosen for argument in added)
