"""The scaling policy as tables: load and workers in, how many to start and which to stop out."""

from __future__ import annotations

import pytest

from worker_vllm.gateway.fleet.scaling import Load, Resize, ScalableWorker, Scaler, ScalerType, ScalingPolicy

NOW = 1000.0


def busy(count: int) -> list[ScalableWorker]:
    """Workers that start or work."""
    return [ScalableWorker(f"busy-{n}") for n in range(count)]


def idle(*seconds: float) -> list[ScalableWorker]:
    """Workers that have been idle for so long."""
    return [ScalableWorker(f"idle-{s:g}", NOW - s) for s in seconds]


def request_count(low: int, high: int, value: float = 4) -> ScalingPolicy:
    return ScalingPolicy(low, high, ScalerType.REQUEST_COUNT, value)


def queue_delay(low: int, high: int) -> ScalingPolicy:
    return ScalingPolicy(low, high, ScalerType.QUEUE_DELAY, 4.0)


DECISIONS: list[tuple[str, ScalingPolicy, Load, list[ScalableWorker], Resize]] = [
    ("the minimum is started", request_count(2, 5), Load(), [], Resize(2, start=2)),
    ("nothing to do", request_count(1, 5), Load(0, 4), busy(1), Resize(1)),
    ("ceil(9 / 4)", request_count(0, 5), Load(5, 4), busy(1), Resize(3, start=2)),
    ("one request is enough", request_count(0, 5), Load(1, 0), [], Resize(1, start=1)),
    ("the maximum bounds it", request_count(0, 3), Load(100, 0), busy(1), Resize(3, start=2)),
    ("fewer wanted, none is idle", request_count(0, 5), Load(0, 1), busy(3), Resize(1)),
    ("fewer wanted, idle too short", request_count(0, 5), Load(), idle(1, 4.9), Resize(0)),
    (
        "the longest idle first",
        request_count(1, 5),
        Load(),
        idle(6, 9, 7),
        Resize(1, stop=("idle-9", "idle-7")),
    ),
    (
        "those that the load needs stay",
        request_count(0, 5),
        Load(0, 5),
        idle(6, 9, 7),
        Resize(2, stop=("idle-9",)),
    ),
    ("at zero", request_count(0, 0), Load(10, 0), [], Resize(0)),
    ("the first is started at once", queue_delay(0, 3), Load(1, 0, 0.0), [], Resize(1, start=1)),
    ("no wait, no more", queue_delay(0, 3), Load(7, 3, 3.9), busy(1), Resize(1)),
    ("a long wait adds one", queue_delay(0, 3), Load(7, 3, 4.1), busy(1), Resize(2, start=1)),
    ("one request does not need two", queue_delay(0, 3), Load(1, 0, 400), busy(1), Resize(1)),
    ("never above the maximum", queue_delay(0, 3), Load(7, 3, 400), busy(3), Resize(3)),
    ("idle ones go", queue_delay(1, 3), Load(), idle(5, 6, 7), Resize(3, stop=("idle-7", "idle-6"))),
    ("the last one stays while one waits", queue_delay(0, 3), Load(1, 0, 1), idle(6), Resize(1)),
    ("the last one goes", queue_delay(0, 3), Load(), idle(6), Resize(1, stop=("idle-6",))),
]


@pytest.mark.parametrize(
    ("policy", "load", "workers", "decision"), [row[1:] for row in DECISIONS], ids=[row[0] for row in DECISIONS]
)
def test_the_decision(policy: ScalingPolicy, load: Load, workers: list[ScalableWorker], decision: Resize) -> None:
    """RunPod's formula, the threshold of the wait, the idle timeout, the bounds."""
    assert Scaler(policy).decide(load, workers, NOW) == decision


def test_queue_delay_adds_one_worker_per_threshold() -> None:
    """Each further one only after its predecessor had as long to help as a request may wait."""
    scaler = Scaler(queue_delay(1, 4))
    present, started = 1, []
    for second in range(14):
        decision = scaler.decide(Load(50, present, float(second)), busy(present), NOW + second)
        present += decision.start
        started += [second] * decision.start
    assert (started, present) == ([5, 9, 13], 4)


def test_an_idle_worker_is_stopped_in_the_moment_its_timeout_is_over() -> None:
    """Not before, and the decision repeats until it is gone."""
    scaler = Scaler(queue_delay(0, 2))
    worker = [ScalableWorker("w", NOW)]
    assert [scaler.decide(Load(), worker, NOW + s).stop for s in (0, 4.99, 5, 6)] == [(), (), ("w",), ("w",)]


def test_the_report_names_policy_and_load() -> None:
    """Whole, as the workers API shows it."""
    scaler = Scaler(request_count(1, 3, 2))
    load = Load(4, 1, 1.23456)
    assert scaler.to_json(load, busy(2), scaler.decide(load, busy(2), NOW).wanted) == {
        "min": 1,
        "max": 3,
        "scaler": "REQUEST_COUNT",
        "value": 2,
        "idle_timeout_s": 5.0,
        "flashboot": False,
        "waiting": 4,
        "running": 1,
        "longest_wait_s": 1.235,
        "workers": 2,
        "wanted": 3,
    }
