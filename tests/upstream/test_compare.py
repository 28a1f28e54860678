"""What counts as a difference between the two runs of upstream's tests, and what the list of intended ones is for."""

from __future__ import annotations

import pytest

from tests.upstream.compare import REFUSED, Outcomes, Pair, first_without_server, problems, summary
from tests.upstream.differences import INTENDED
from tests.upstream.modules import ENGINES
from tests.upstream.omitted import ENDS_ENGINE, NEEDS_UNUSED_ENGINE

TEST = "tests/test_a.py::test_b[x]"
REASON = "the route is closed"


def run(outcome: str, reason: str = "") -> Outcomes:
    """One test's outcome."""
    return {TEST: {"outcome": outcome, "reason": reason}}


CASES: list[tuple[str, str, dict[str, str], list[str]]] = [
    ("passed", "passed", {}, []),
    ("failed", "failed", {}, []),
    ("skipped", "skipped", {}, []),
    ("passed", "failed", {TEST: REASON}, []),
    ("passed", "failed", {TEST.partition("[")[0]: REASON}, []),
    ("passed", "failed", {}, [f"unexpected: {TEST}: passed bare, failed through us: no reason given"]),
    ("failed", "passed", {}, [f"unexpected: {TEST}: failed bare, passed through us: no reason given"]),
    ("passed", "passed", {TEST: REASON}, [f"listed, and no different: {TEST} ({REASON})"]),
    ("failed", "failed", {TEST: REASON}, [f"listed, and no different: {TEST} ({REASON})"]),
    ("passed", "passed", {"tests/test_c.py::test_of_another_engine": REASON}, []),
]


@pytest.mark.parametrize(("bare", "through", "intended", "expected"), CASES)
def test_a_difference_is_listed_or_a_problem(
    bare: str, through: str, intended: dict[str, str], expected: list[str]
) -> None:
    """And what is listed differs."""
    assert problems([Pair("e", run(bare), run(through))], intended) == expected


def test_a_test_that_did_not_run_through_us_is_a_difference() -> None:
    """As when a module cannot be collected there."""
    [found] = problems([Pair("e", run("passed"), {})], {})
    assert found == f"unexpected: {TEST}: passed bare, not run through us: no reason given"


def test_a_difference_names_the_error_of_the_traceback() -> None:
    """The first line of pytest's `E`, not the whole."""
    trace = "file.py:3: in test_b\n    assert a == b\nE   AssertionError: 404\nE   more"
    [found] = problems([Pair("e", run("passed"), run("failed", trace))], {})
    assert found.endswith("failed through us: AssertionError: 404")


def test_the_summary_counts_each_run_and_says_what_cannot_run() -> None:
    """A line an engine, then a line a reason."""
    pairs = [
        Pair("e", run("passed"), run("failed"), (1.2, 2.6)),
        Pair("f", run("skipped", "no"), run("skipped", "no")),
    ]
    assert summary(pairs, {}).splitlines() == [
        "e: 1 tests; bare 1 passed in 1 s; through us 1 failed in 3 s; 1 differ",
        "f: 1 tests; bare 1 skipped in 0 s; through us 1 skipped in 0 s; 0 differ",
        "  not runnable: 1 x no",
    ]


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (["", "E   AssertionError"], None),
        (["", f"E   {REFUSED[0]}", f"E   {REFUSED[0]}"], "b"),
        (["", f"E   {REFUSED[1]}"], "b"),
    ],
    ids=["the server lived", "the first test ended it", "it ended behind the worker"],
)
def test_a_server_that_ended_is_reported_with_the_next_test(reasons: list[str], expected: str | None) -> None:
    """Outcomes stand in the order in which the tests ran."""
    found = {name: {"outcome": "failed", "reason": reason} for name, reason in zip("abc", reasons, strict=False)}
    assert first_without_server(found) == expected


def test_each_intended_difference_has_a_reason_and_names_a_module_that_runs() -> None:
    """So that a stale entry is seen before the long run."""
    modules = {f"tests/entrypoints/{module}" for engine in ENGINES for module in engine.modules}
    ending = {f"tests/entrypoints/{name}": reason for name, reason in (ENDS_ENGINE | NEEDS_UNUSED_ENGINE).items()}
    assert {name.partition("::")[0] for name in {**INTENDED, **ending}} <= modules
    assert all(len(reason) > 10 for reason in {**INTENDED, **ending}.values())
