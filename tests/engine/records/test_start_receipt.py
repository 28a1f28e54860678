"""The receipt of a start: its figures, and savings that only recorded starts can prove."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from worker_vllm.engine.preflight.start_facts import Origin, StartFacts
from worker_vllm.engine.records.events import FinishedStart
from worker_vllm.engine.records.start_receipt import RecordedStart, Saving, receipt_of, savings
from worker_vllm.engine.supervision.startup_phases import StartFigures, StartTimeline
from worker_vllm.settings.types import EngineSettings

SETTINGS = EngineSettings(served_names=("org/m",))
FACTS = StartFacts(
    key="org_m/0.32.0/1xH100-sm90",
    origin=Origin.HUB,
    cache_root="/runpod-volume/worker-vllm-cache/org_m",
    warm={"torch.compile": False, "model info": True},
    repositories=("org/m",),
    machine="570.1, H100",
    spawned_after_s=0.5,
)
PHASES = (("import", 4.0), ("rest of the download", 16.0), ("load", 2.0), ("compile", 8.0), ("warm-up", 0.5))
START = FinishedStart(SETTINGS, FACTS, PHASES, 30.5, StartFigures(weights_load_s=2.0, compiled="built"), 20.0)
THIS = RecordedStart("k", 0.0, 31.0, origin="hub", compiled="built")
WARM = replace(THIS, origin="volume", compiled="reused")
BAKED = replace(THIS, origin="baked")
QUICK = replace(THIS, fast_start=True)


def test_the_receipt_contains_phases_weights_rates_and_caches() -> None:
    """Everything measured: the worker's own part before the spawn, the download, the load, what was there before."""
    receipt = receipt_of(START, 8_000_000_000, 6_000_000_000, 100.0)
    shown = receipt.to_json()
    assert shown.pop("would_have_saved") == {}
    assert shown == {
        "model": "org/m",
        "ready_at": 100.0,
        "total_s": 31.0,
        "relaunch": False,
        "phases": [{"phase": name, "seconds": took_s} for name, took_s in (("worker", 0.5), *PHASES)],
        "weights": {
            "from": "hub",
            "bytes": 8_000_000_000,
            "download": {"bytes": 6_000_000_000, "seconds": 20.0, "bytes_per_second": 300_000_000},
            "load": {"bytes": 8_000_000_000, "seconds": 2.0, "bytes_per_second": 4_000_000_000},
            "loader": None,
        },
        "caches": {
            "directory": "/runpod-volume/worker-vllm-cache/org_m",
            "weights": False,
            "torch.compile before": False,
            "model info before": True,
            "graphs": "built",
        },
        "fast_start": False,
        "machine": "570.1, H100",
    }


def test_the_receipt_is_one_line_of_the_log() -> None:
    """For people; what is not known is left out or called so."""
    receipt = receipt_of(START, 8_000_000_000, 6_000_000_000, 100.0)
    line = replace(receipt, savings=savings(receipt.record, ())).line()
    assert line == (
        "receipt of the start: 31.0 s (worker 0.5, import 4.0, rest of the download 16.0, load 2.0, compile 8.0, "
        "warm-up 0.5); weights from: hub, 8.0 GB, downloaded in 20.0 s (300.0 MB/s), loaded in 2.0 s (4.0 GB/s); "
        "graphs built; would have saved: warm cache: not measured: no start with warm caches is recorded; "
        "baked image: not measured: no start with a baked image is recorded; "
        "fast start: not measured: no start with FAST_START=1 is recorded"
    )


def test_a_time_too_short_to_measure_gives_no_rate() -> None:
    """vLLM logs two decimals: 0.00 s is not infinitely fast."""
    receipt = receipt_of(replace(START, figures=StartFigures(weights_load_s=0.0)), 1000, None, 0.0)
    weights = receipt.to_json()["weights"]
    assert (weights["load"]["bytes_per_second"], weights["download"]) == (None, None)


def test_a_download_before_the_spawn_is_a_phase_of_its_own() -> None:
    """As in a start by `doctor`; the engine's own phases do not contain it."""
    later = replace(START, phases=(("import", 4.0),), total_s=4.0)
    receipt = receipt_of(later, None, None, 0.0)
    assert receipt.phases == (("worker", 0.5), ("download", 20.0), ("import", 4.0))
    assert receipt.record.total_s == 24.5


def test_a_relaunch_counts_from_its_own_spawn() -> None:
    """The worker's own start is not a part of it."""
    again = replace(
        START, download_s=None, facts=replace(FACTS, relaunch=True, origin=Origin.VOLUME, repositories=())
    )
    receipt = receipt_of(again, None, None, 0.0)
    assert (receipt.record.total_s, receipt.phases, receipt.record.relaunch) == (30.5, PHASES, True)


@pytest.mark.parametrize(
    ("recorded", "name", "seconds", "starts"),
    [
        ([], "warm_cache", None, 0),
        (
            [replace(WARM, total_s=11.0), replace(WARM, total_s=13.0), replace(WARM, total_s=40.0)],
            "warm_cache",
            18.0,
            3,
        ),
        ([replace(WARM, total_s=10.0), replace(WARM, total_s=12.0)], "warm_cache", 20.0, 2),
        ([replace(WARM, total_s=35.0)], "warm_cache", -4.0, 1),
        ([replace(WARM, key="another model")], "warm_cache", None, 0),
        ([replace(WARM, relaunch=True)], "warm_cache", None, 0),
        ([replace(WARM, fast_start=True)], "warm_cache", None, 0),
        ([replace(BAKED, total_s=21.0)], "baked_image", 10.0, 1),
        ([replace(BAKED, compiled="reused")], "baked_image", None, 0),
        ([replace(QUICK, total_s=16.0)], "fast_start", 15.0, 1),
        ([replace(QUICK, total_s=16.0, origin="volume")], "fast_start", None, 0),
        ([replace(THIS, total_s=1.0)], "baked_image", None, 0),
    ],
)
def test_a_saving_is_the_difference_to_recorded_starts_alone(
    recorded: list[RecordedStart], name: str, seconds: float | None, starts: int
) -> None:
    """Of the same model and hardware that differ in this one thing; none recorded: not measured; never a guess."""
    found = savings(THIS, recorded)[name]
    assert (found.seconds, found.starts) == (seconds, starts)
    assert found.note.startswith("not measured: ") is (starts == 0)


@pytest.mark.parametrize(
    ("this", "name", "note"),
    [
        (WARM, "warm_cache", "warm caches"),
        (BAKED, "baked_image", "a baked image"),
        (QUICK, "fast_start", "FAST_START=1"),
    ],
)
def test_what_a_start_had_saves_it_nothing_more(this: RecordedStart, name: str, note: str) -> None:
    """Said so, whatever is recorded."""
    assert savings(this, [replace(this, total_s=1.0)])[name] == Saving(0.0, 0, f"this start had {note}")


# Lines of vLLM 0.32.0: model_executor/model_loader/default_loader.py, compilation/backends.py, decorators.py.
BUILT = (
    "(Worker_TP0 pid=3) INFO 11-22 13:53:35 [default_loader.py:501] Loading weights took 1.25 seconds",
    "(Worker_TP1 pid=4) INFO 11-22 13:53:35 [default_loader.py:501] Loading weights took 1.75 seconds",
    "(EngineCore pid=2) INFO [backends.py:383] Cache the graph of compile range (1, 2048) for later use",
    "(EngineCore pid=2) INFO [backends.py:399] Compiling a graph for compile range (1, 2048) takes 3.10 s",
)
REUSED = (
    "[backends.py:296] Directly load the compiled graph(s) for compile range (1, 2048) from the cache, took 0.4 s"
)
AOT = "INFO [decorators.py:320] Directly load AOT compilation from path /cache/torch_compile_cache/x"


@pytest.mark.parametrize(
    ("lines", "figures"),
    [
        (BUILT, StartFigures(1.75, "built")),
        ((REUSED,), StartFigures(None, "reused")),
        ((AOT,), StartFigures(None, "reused")),
        ((REUSED, *BUILT), StartFigures(1.75, "built")),
        (("Application startup complete", *BUILT), StartFigures()),
    ],
)
def test_how_weights_were_loaded_and_what_was_compiled_is_read_from_the_log(
    lines: tuple[str, ...], figures: Any
) -> None:
    """The slowest process counts; one built graph makes it a cold start; nothing is read after the start."""
    timeline = StartTimeline(lambda: 0.0, 0.0)
    for line in lines:
        timeline.read(line)
    assert timeline.figures == figures
