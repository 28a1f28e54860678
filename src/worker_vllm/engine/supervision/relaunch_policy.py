"""What to do about a dead engine, by whose fault it is. Pure; the clock is an argument.

settings → stay up and answer every job with the sentence; host → take nothing and leave the machine; passing → try
again within a budget per cause that ten healthy minutes refill, then leave. Before that comes one relaunch with
smaller settings or a fresh look at a revision, and before all one without the loader that we chose, if that may be to
blame. None touches a value that the user set.
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
    """What follows a death."""

    RELAUNCH = "relaunch"
    REFUSE = "refuse"  # stay up, tell every job why
    LEAVE = "leave"  # take nothing, exit non-zero


@dataclass(frozen=True, slots=True)
class Decision:
    """The action, and what a relaunch changes in the engine's command line."""

    action: Action
    added: tuple[str, ...] = ()
    own_loader: bool = False  # vLLM's own reader of weights again, instead of our choice

    def onto(self, settings: EngineSettings) -> EngineSettings:
        """The settings of the next launch."""
        loader = () if self.own_loader else settings.loader_arguments
        return replace(settings, arguments=(*settings.arguments, *self.added), loader_arguments=loader)

    def changes(self, settings: EngineSettings) -> str:
        """What changes, in words that follow `relaunching the engine`; empty where nothing does."""
        without = f" without {' '.join(settings.loader_arguments)}" if self.own_loader else ""
        return without + (f" with {' '.join(self.added)}" if self.added else "")


# Ends that a loader can cause although a row lays them to the settings: it is unknown here, or needs too much room.
LOADER_CAUSES = ("bad flag", "bad value", "out of memory at load")

# The smaller settings, each by the flags that would mean the user had chosen for himself.
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
    """Remembers what was tried."""

    _spent: dict[str, int] = field(default_factory=dict)
    _remedied: set[Remedy] = field(default_factory=set)

    def decide(self, diagnosis: Diagnosis, settings: EngineSettings, healthy_s: float) -> Decision:
        """What to do after this death of an engine that was healthy for so many seconds before it."""
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
    """Whether a start ended in or before the reading of the weights, by a cause that the reader can bring about."""
    if not diagnosis.before_weights or diagnosis.cause == TOO_SLOW:
        return False
    return diagnosis.scope is not Scope.SETTINGS or diagnosis.cause in LOADER_CAUSES


def smaller(remedy: Remedy, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The remedy's arguments for which the command line has no value of the user's."""
    given = EngineArguments(arguments)
    chosen = [added for owners, added in SMALLER.get(remedy, ()) if not given.has(*owners)]
    return tuple(argument for added in chosen for argument in added)
