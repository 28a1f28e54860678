"""The start's timeline, read off the engine's log."""

from __future__ import annotations

import itertools

from worker_vllm.engine.supervision.startup_phases import StartTimeline

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
    timeline = StartTimeline(lambda: next(clock), 10.0, lambda phase, took_s: seen.append((phase, took_s)))
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
    """The phase that a hanging start is in."""
    timeline = StartTimeline(lambda: 0.0, 0.0)
    assert timeline.phase == "import"
    for line in CPU_START[:2]:
        timeline.read(line)
    assert timeline.phase == "processes"
