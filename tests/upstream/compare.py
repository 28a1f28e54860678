"""What the two runs say, put side by side: pure, so that it has tests of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Outcomes = dict[str, dict[str, str]]  # a test's name → its outcome and why
Differences = Mapping[str, str]  # a test's name, its parameters left out or not → why it differs through us
PASSED = "passed"
# Of a server that has ended: httpx to the engine itself, and the worker about its engine.
REFUSED = ("All connection attempts failed", "Connect call failed")


@dataclass(frozen=True, slots=True)
class Pair:
    """The outcomes of the same tests against the bare engine and through gateway and worker."""

    engine: str
    bare: Outcomes
    through: Outcomes
    seconds: tuple[float, float] = (0.0, 0.0)

    def differing(self) -> dict[str, str]:
        """Tests with another outcome through us, by name: 'passed bare, failed through us: …'."""
        found = {}
        for test in sorted(self.bare.keys() | self.through.keys()):
            before, after = outcome(self.bare, test), outcome(self.through, test)
            if (before == PASSED) != (after == PASSED):
                reason = last_line(self.through if before == PASSED else self.bare, test)
                found[test] = f"{before} bare, {after} through us: {reason}"
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything, for a report."""
        return asdict(self)


def outcome(outcomes: Outcomes, test: str) -> str:
    """A test's outcome, or 'not run'."""
    return outcomes.get(test, {}).get("outcome", "not run")


def first_without_server(outcomes: Outcomes) -> str | None:
    """The first test that found no server to connect to: a test before it ended the server."""
    return next((test for test, seen in outcomes.items() if any(words in seen["reason"] for words in REFUSED)), None)


def last_line(outcomes: Outcomes, test: str) -> str:
    """The line of a traceback that says most, cut to a screen's width."""
    lines = [line for line in outcomes.get(test, {}).get("reason", "").splitlines() if line.strip()]
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    return (errors or lines or ["no reason given"])[0][:300]


def listed(test: str, intended: Differences) -> str | None:
    """The entry of the list that a test falls under: its own name, or that without parameters."""
    return next((name for name in (test, test.partition("[")[0]) if name in intended), None)


def problems(pairs: Sequence[Pair], intended: Differences) -> list[str]:
    """What must not be: a difference that is not listed, and a listed one that is none (of tests that ran)."""
    found, used, ran = [], set(), set()
    for pair in pairs:
        differing = pair.differing()
        for test, words in differing.items():
            entry = listed(test, intended)
            if entry is None:
                found.append(f"unexpected: {test}: {words}")
            else:
                used.add(entry)
        ran |= {entry for test in pair.bare | pair.through if (entry := listed(test, intended))}
    found += [f"listed, and no different: {entry} ({intended[entry]})" for entry in sorted(ran - used)]
    return found


def summary(pairs: Sequence[Pair], intended: Differences) -> str:
    """The counts, an engine a line, and why tests did not run."""
    lines = []
    for pair in pairs:
        before, after = (Counter(entry["outcome"] for entry in run.values()) for run in (pair.bare, pair.through))
        lines.append(
            f"{pair.engine}: {len(pair.bare)} tests; bare {counts(before)} in {pair.seconds[0]:.0f} s; "
            f"through us {counts(after)} in {pair.seconds[1]:.0f} s; {len(pair.differing())} differ"
        )
    skipped = Counter(
        last_line(pair.bare, test) for pair in pairs for test in pair.bare if outcome(pair.bare, test) == "skipped"
    )
    lines += [f"  not runnable: {count} x {reason}" for reason, count in skipped.most_common()]
    return "\n".join(lines)


def counts(found: Counter[str]) -> str:
    """'12 passed, 3 failed'."""
    return ", ".join(f"{number} {name}" for name, number in found.most_common()) or "nothing"
