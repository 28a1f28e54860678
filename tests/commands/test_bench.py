"""`worker-vllm bench` against real processes: two kinds of target, failures, reports, and the plan of a load."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.stack import Stack, serve_echo

pytestmark = pytest.mark.timeout(60)

BENCH = (sys.executable, "-m", "worker_vllm", "bench")
SMALL = ("--requests", "12", "--concurrency", "4", "--rounds", "2", "--warmup", "2", "--output-tokens", "3-6")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Gateway, worker and echo engine."""
    with serve_echo(("--step-ms", "1")) as up:
        yield up


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run([*BENCH, *arguments], capture_output=True, text=True, check=False, timeout=50)


@pytest.mark.parametrize("extra", [(), ("--completions",), ("--no-stream",), ("--rate", "200")], ids=str)
def test_two_kinds_of_target_are_measured_in_turns(stack: Stack, tmp_path: Path, extra: Sequence[str]) -> None:
    """Every request of every round is answered, with its tokens; the processes' CPU time is visible."""
    result = tmp_path / "r.json"
    page = tmp_path / "r.html"
    targets = (f"openai={stack.openai_url}", f"jobs={stack.url}")
    ran = bench("run", *targets, *SMALL, *extra, "--json", str(result), "--html", str(page))
    assert (ran.returncode, ran.stderr.splitlines()[2:]) == (
        0,
        [f"{name}, 12 requests" for name in ("openai: round 1", "jobs: round 1", "jobs: round 2", "openai: round 2")],
    )
    found = json.loads(result.read_text())
    rounds = found["rounds"]
    assert [(one["target"], one["number"], one["requests"], one["failures"]) for one in rounds] == [
        ("openai", 1, 12, {}),
        ("jobs", 1, 12, {}),
        ("jobs", 2, 12, {}),
        ("openai", 2, 12, {}),
    ]
    assert rounds[0]["output_tokens"] == rounds[1]["output_tokens"] > 12 * 2
    assert rounds[0]["prompt_tokens"] > 0 < rounds[1]["prompt_tokens"]
    assert "openai: 0 of 24 requests failed" in ran.stdout
    html = page.read_text()
    assert "<svg" in html
    assert not re.search(r"<script|src=|href=|url\(|@import", html)


def test_failures_are_counted_and_fail_the_command(stack: Stack) -> None:
    """An unknown model: each request fails with the endpoint's own sentence."""
    ran = bench("run", stack.openai_url, *SMALL, "--model", "absent", "--rounds", "1")
    assert ran.returncode == 1
    assert "A: 12 of 12 requests failed" in ran.stdout
    assert "12 x HTTP 404: " in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("run", "http://127.0.0.1:9/v1"), 1, "/models lists no model"),
        (("run", "http://127.0.0.1:9/"), 2, "expected a URL ending with /v1"),
        (("run", "A=http://h/v1", "A=http://h/v1"), 2, "two targets have the same name"),
        (("run", "http://h/v1", "--rate", "0"), 2, "--rate 0.0: expected arrivals a second, more than 0"),
        (("run", "http://h/v1", "--key-variable", "NO_SUCH"), 2, "the environment has no such variable"),
        (("run", "http://h/v1", "--output-tokens", "x"), 2, 'token lengths "x": expected a count'),
        (("run", "http://h/v1", "--requests", "0"), 2, '"0": expected a whole number from 1'),
        (("run", "unix:/e", "--model", "m", "--generator", "vllm", "--tokenizer", "t"), 2, "--generator vllm: it "),
        (("plan", "/no/such", "--curve", "/no/such"), 1, "No such file"),
    ],
)
def test_wrong_usage_says_what_is_expected(arguments: Sequence[str], status: int, message: str) -> None:
    """One line on stderr, no traceback."""
    ran = bench(*arguments)
    assert ran.returncode == status
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_plan_names_the_cheapest_rule_that_meets_the_goal(tmp_path: Path) -> None:
    """The first option meets the goal, none that meets it is cheaper; the constant concurrency is beside it."""
    load, curve, result = tmp_path / "load.jsonl", tmp_path / "curve.json", tmp_path / "plan.json"
    lines = [{"at": at / 4, "prompt_tokens": 100, "output_tokens": 200} for at in range(2000)]
    load.write_text("\n".join(json.dumps(line) for line in lines))
    curve.write_text(json.dumps({"points": [[1, 80], [32, 1600]], "prompt_tokens_per_s": 8000, "max_sequences": 64}))
    ran = bench("plan", str(load), "--curve", str(curve), "--json", str(result), "--max-workers", "6", "--goal", "3")
    assert ran.returncode == 0, ran.stderr
    options = json.loads(result.read_text())
    meeting = [one for one in options if one["job_limit"] == "window" and one["figures"]["first_token"]["p95"] <= 3]
    assert options[0] == min(meeting, key=lambda one: one["figures"]["cost"])
    assert options[-1]["job_limit"] == "constant 30"
    assert len(ran.stdout.splitlines()) == 1 + len(options)


@pytest.mark.parametrize(
    ("load", "curve", "message"),
    [
        ('{"at": 1}', '{"points": [[1, 80]], "prompt_tokens_per_s": 1, "max_sequences": 1}', "line 1 of the load"),
        ("", '{"points": [[1, 80]], "prompt_tokens_per_s": 1, "max_sequences": 1}', "the load has no jobs"),
        ('{"at": 0, "prompt_tokens": 1, "output_tokens": 1}', "{}", "'points'; expected {\"points\""),
        (
            '{"at": 0, "prompt_tokens": 1, "output_tokens": 1}',
            '{"points": [[4, 1], [2, 1]], "prompt_tokens_per_s": 1, "max_sequences": 1}',
            "expected ascending counts",
        ),
    ],
)
def test_a_plan_without_a_load_or_a_curve_says_so(tmp_path: Path, load: str, curve: str, message: str) -> None:
    """What, got, expected."""
    (tmp_path / "l").write_text(load)
    (tmp_path / "c").write_text(curve)
    ran = bench("plan", str(tmp_path / "l"), "--curve", str(tmp_path / "c"))
    assert ran.returncode == 2
    assert message in ran.stderr
