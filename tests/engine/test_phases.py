"""The start's timeline, read off the engine's log; and whether a busy engine moves, read off its metrics."""

from __future__ import annotations

import itertools

import pytest

from worker_vllm.engine.phases import Timeline
from worker_vllm.engine.stall import Progress, StallClock, read_progress

CPU_START = (
    "(APIServer pid=1) INFO 11-22 13:53:34 [api_utils.py:286] non-default args: {'model': 'm'}",
    "(APIServer pid=1) INFO 11-22 13:53:34 [model.py:2152] Using max model len 131072",
    "(Worker pid=3) INFO 11-22 13:53:35 [cpu_model_runner.py:68] Starting to load model m...",
    "(Worker pid=3) INFO 11-22 13:53:35 [default_loader.py:501] Loading weights took 0.01 seconds",
    "(EngineCore pid=2) INFO 11-22 13:53:35 [kv_cache_utils.py:2327] CPU KV cache size: 524,288 tokens, Maximum",
    "(EngineCore pid=2) INFO 11-22 13:53:37 [core.py:402] init engine (profile, create kv cache, warmup model) took",
    "INFO:     Application startup complete.",
)


def test_each_phase_ends_at_its_mark() -> None:
    """One second a line here; phases that this engine has not (compile, graphs) are not named."""
    clock = itertools.count(11.0)
    seen: list[tuple[str, float]] = []
    timeline = Timeline(lambda: next(clock), 10.0, lambda phase, took_s: seen.append((phase, took_s)))
    for line in CPU_START:
        timeline.read(line)
    timeline.end("warm-up")
    names = ["import", "resolve", "processes", "load", "profile", "prepare", "serve", "warm-up"]
    assert seen == timeline.phases == [(name, 1.0) for name in names]
    assert timeline.phase == "ready"
    assert timeline.summary() == (
        "8.0 s (import 1.0, resolve 1.0, processes 1.0, load 1.0, profile 1.0, prepare 1.0, serve 1.0, warm-up 1.0)"
    )


def test_the_phase_it_is_in_is_known() -> None:
    """What a start that hangs is told by."""
    timeline = Timeline(lambda: 0.0, 0.0)
    assert timeline.phase == "import"
    for line in CPU_START[:2]:
        timeline.read(line)
    assert timeline.phase == "processes"


def test_progress_is_summed_over_engines() -> None:
    """Data parallel engines have a label each; other counters do not count."""
    metrics = """# HELP vllm:num_requests_running x
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_running{engine="1",model_name="m"} 1.0
vllm:generation_tokens_total{engine="0",model_name="m"} 1.5e+03
vllm:generation_tokens_total{engine="1",model_name="m"} 10.0
vllm:prompt_tokens_total{engine="0",model_name="m"} 7.0
vllm:iteration_tokens_total_sum{engine="0",model_name="m"} 3.0
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="m"} 99.0
vllm:kv_cache_usage_perc{engine="0"} 0.5
"""
    assert read_progress(metrics) == Progress(running=3, done=1520)
    assert read_progress("") == Progress(0, 0)


@pytest.mark.parametrize(
    ("looks", "stalled_s"),
    [
        ([(0, 1, 5), (10, 1, 5), (20, 1, 5)], [0, 10, 20]),
        ([(0, 1, 5), (10, 1, 6), (20, 1, 6)], [0, 0, 10]),
        ([(0, 1, 5), (10, 0, 5), (20, 1, 5)], [0, 0, 10]),
        ([(0, 1, 5), (10, 1, 5), (500, 1, 5), (510, 1, 5)], [0, 10, 0, 10]),
    ],
    ids=["busy and still", "a token starts it anew", "idle is no stall", "a frozen machine is no stall"],
)
def test_a_stall_is_work_without_progress(looks: list[tuple[float, float, float]], stalled_s: list[float]) -> None:
    """Each look: time, requests running, work done so far."""
    clock = StallClock(longest_gap_s=30)
    assert [clock.see(Progress(running, done), now) for now, running, done in looks] == stalled_s
