"""The suite's light generator: samples as those of the bench package, failures noted and not raised."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.light_streams import LightGenerator
from benchmarks.stacks import stamping_engine
from tests.support.processes import running
from tests.support.stack import echo_process
from worker_vllm.bench.load_plan import LoadPlan
from worker_vllm.bench.rounds import BuiltInGenerator, RoundProgress
from worker_vllm.bench.targets import BenchTarget, TargetKind
from worker_vllm.bench.visible_processes import usage
from worker_vllm.simulation.arrivals import FixedLength

PLAN = LoadPlan(3, 2, None, FixedLength(4), FixedLength(7), ignore_eos=True)


@pytest.fixture(scope="module")
def engine() -> Iterator[BenchTarget]:
    with echo_process() as url:
        yield BenchTarget("echo", TargetKind.OPENAI, "http://engine/v1", "echo", socket=url.removeprefix("unix:"))


@pytest.mark.parametrize("chat", [True, False])
async def test_it_counts_what_the_built_in_generator_counts(engine: BenchTarget, chat: bool) -> None:
    plan = replace(PLAN, chat=chat)
    light = await LightGenerator().send(engine, plan, 1)
    built_in = await BuiltInGenerator(10, RoundProgress()).send(engine, plan, 1)
    assert [one.failure for one in light] == [None] * 3
    assert {(one.prompt_tokens, one.output_tokens) for one in light} == {
        (one.prompt_tokens, one.output_tokens) for one in built_in
    }
    assert all(one.first_at is not None and one.asked_at <= one.first_at for one in light)


async def test_stamped_tokens_have_ages() -> None:
    with stamping_engine(1.0) as (socket, _):
        target = BenchTarget("engine", TargetKind.OPENAI, "http://engine/v1", "echo", socket=socket)
        found = await LightGenerator().send(target, replace(PLAN, chat=False), 1)
    assert [len(one.ages) for one in found] == [7] * 3
    assert all(0 <= age < 10 for one in found for age in one.ages)


async def test_failures_are_noted(engine: BenchTarget, tmp_path: Path) -> None:
    refused = await LightGenerator().send(replace(engine, model="other"), PLAN, 1)
    assert {one.failure for one in refused} == {"HTTP 404: The model `other` does not exist. Valid aliases: echo."}
    absent = await LightGenerator().send(replace(engine, socket=str(tmp_path / "none")), PLAN, 1)
    assert all("No such file" in (one.failure or "") for one in absent)


def test_a_script_is_listed_by_its_name(tmp_path: Path) -> None:
    """The original's worker is one: `python main.py`. The script sleeps until the test ends it."""
    script = tmp_path / "main.py"
    script.write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    with running([sys.executable, str(script)]) as process:
        process.line("up")
        assert [name for name, _ in usage([process.pid]).values()] == ["main.py"]
