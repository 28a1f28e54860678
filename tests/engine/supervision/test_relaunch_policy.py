"""What follows a death: tables of causes, budgets and remedies; no engine, no clock."""

from __future__ import annotations

import pytest

from worker_vllm.engine.diagnosis.types import TOO_SLOW, Diagnosis, Remedy, Scope
from worker_vllm.engine.supervision.relaunch_policy import Action, Decision, RelaunchPolicy, smaller
from worker_vllm.settings.types import EngineSettings

SETTINGS = EngineSettings()


def death(scope: Scope, cause: str = "cause", remedy: Remedy | None = None) -> Diagnosis:
    return Diagnosis(cause, scope, "sentence", remedy)


@pytest.mark.parametrize(
    ("scope", "actions"),
    [
        (Scope.SETTINGS, [Action.REFUSE, Action.REFUSE]),
        (Scope.HOST, [Action.LEAVE, Action.LEAVE]),
        (Scope.PASSING, [Action.RELAUNCH, Action.RELAUNCH, Action.LEAVE]),
    ],
)
def test_the_scope_decides(scope: Scope, actions: list[Action]) -> None:
    """Settings: stay and refuse. Host: leave. Passing: twice more, then leave."""
    policy = RelaunchPolicy()
    assert [policy.decide(death(scope), SETTINGS, 0).action for _ in actions] == actions


def test_every_cause_has_a_budget_of_its_own() -> None:
    """One cause that came twice does not use up another's tries."""
    policy = RelaunchPolicy()
    causes = ["a", "a", "b", "b", "a"]
    actions = [policy.decide(death(Scope.PASSING, cause), SETTINGS, 5).action for cause in causes]
    assert actions == [Action.RELAUNCH] * 4 + [Action.LEAVE]


def test_ten_healthy_minutes_refill_the_budget() -> None:
    """A fault a day is no reason to leave a machine."""
    policy = RelaunchPolicy()
    actions = [policy.decide(death(Scope.PASSING), SETTINGS, healthy_s).action for healthy_s in (0, 0, 600, 0, 599)]
    assert actions == [Action.RELAUNCH] * 4 + [Action.LEAVE]


def test_a_remedy_is_tried_once() -> None:
    """Then the scope decides."""
    policy = RelaunchPolicy()
    oom = death(Scope.SETTINGS, "out of memory", Remedy.LESS_MEMORY)
    first, second = (policy.decide(oom, SETTINGS, 0) for _ in range(2))
    assert first.action is Action.RELAUNCH
    assert first.added[-1] == "--enforce-eager"
    assert second == Decision(Action.REFUSE)


def test_a_vanished_revision_is_looked_for_once_more() -> None:
    """With the same command line."""
    policy = RelaunchPolicy()
    gone = death(Scope.SETTINGS, "revision gone", Remedy.AGAIN)
    assert [policy.decide(gone, SETTINGS, 0).action for _ in range(2)] == [Action.RELAUNCH, Action.REFUSE]


CHOSEN = EngineSettings(arguments=("--seed", "1"), loader_arguments=("--load-format", "instanttensor"))


@pytest.mark.parametrize(
    ("scope", "cause"),
    [
        (Scope.PASSING, "unknown"),
        (Scope.HOST, "GPU broken"),
        (Scope.SETTINGS, "bad value"),
        (Scope.SETTINGS, "out of memory at load"),
    ],
)
def test_a_start_that_ends_in_the_loader_we_chose_is_repeated_without_it(scope: Scope, cause: str) -> None:
    """Once, and at no cost to the cause's own budget; the user's arguments stay."""
    policy, end = RelaunchPolicy(), Diagnosis(cause, scope, "sentence", before_weights=True)
    decision = policy.decide(end, CHOSEN, 0)
    assert decision == Decision(Action.RELAUNCH, own_loader=True)
    assert decision.changes(CHOSEN) == " without --load-format instanttensor"
    plain = decision.onto(CHOSEN)
    assert plain == EngineSettings(arguments=("--seed", "1"))
    assert policy.decide(end, plain, 0) == RelaunchPolicy().decide(end, plain, 0)


@pytest.mark.parametrize(
    ("scope", "cause", "before_weights"),
    [
        (Scope.SETTINGS, "context too long", True),
        (Scope.HOST, TOO_SLOW, True),
        (Scope.PASSING, "unknown", False),
        (Scope.SETTINGS, "bad value", False),
    ],
)
def test_what_no_loader_causes_is_not_laid_to_it(scope: Scope, cause: str, before_weights: bool) -> None:
    """A mistake in the settings is reported at once; a start that used its time up has none for another."""
    end = Diagnosis(cause, scope, "sentence", before_weights=before_weights)
    assert RelaunchPolicy().decide(end, CHOSEN, 0) == RelaunchPolicy().decide(end, SETTINGS, 0)


@pytest.mark.parametrize(
    ("remedy", "given", "added"),
    [
        (
            Remedy.LESS_MEMORY,
            (),
            (
                *("--gpu-memory-utilization", "0.85"),
                *("--max-num-seqs", "64"),
                *("--max-num-batched-tokens", "8192"),
                "--enforce-eager",
            ),
        ),
        (
            Remedy.LESS_MEMORY,
            ("--gpu-memory-utilization=0.95", "--no-enforce-eager", "--max-num-seqs", "9"),
            ("--max-num-batched-tokens", "8192"),
        ),
        (Remedy.SHORTER_CONTEXT, (), ("--max-model-len", "auto")),
        (Remedy.SHORTER_CONTEXT, ("--max-model-len", "9000"), ()),
        (Remedy.AGAIN, (), ()),
    ],
)
def test_a_remedy_leaves_alone_what_the_user_set(
    remedy: Remedy, given: tuple[str, ...], added: tuple[str, ...]
) -> None:
    """Only what is not on the command line, in either spelling, is added."""
    assert smaller(remedy, given) == added


def test_nothing_left_to_lower_is_no_relaunch() -> None:
    """Where the user chose everything, the diagnosis names what to change."""
    chosen = EngineSettings(arguments=("--max-model-len", "9000"))
    short = death(Scope.SETTINGS, "KV cache too small", Remedy.SHORTER_CONTEXT)
    assert RelaunchPolicy().decide(short, chosen, 0) == Decision(Action.REFUSE)
