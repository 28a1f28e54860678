"""The receipt of a start: what took how long, where the weights came from, and what earlier starts prove. Pure.

A saving is the difference between this start and the median of recorded starts of the same model, engine version and
hardware that had what this one lacked. Without such starts it is `not measured`; nothing is estimated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from worker_vllm.engine.preflight.start_facts import Origin, StartFacts
from worker_vllm.engine.records.events import FinishedStart
from worker_vllm.models.progress import format_size

NOT_MEASURED = "not measured"
LEAST_S = 0.01  # the engine's log has two decimals: a shorter time gives no rate
BUILT, REUSED, UNUSED = "built", "reused", "not used"


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bytes that were moved, and how long it took; the rate is None where the time is too short for one."""

    bytes: int
    seconds: float

    @property
    def bytes_per_second(self) -> float | None:
        """The rate."""
        return self.bytes / self.seconds if self.seconds >= LEAST_S else None

    def to_json(self) -> dict[str, Any]:
        """As the receipt shows it."""
        rate = self.bytes_per_second
        return {
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "bytes_per_second": None if rate is None else round(rate),
        }


@dataclass(frozen=True, slots=True)
class RecordedStart:
    """What is kept of each start for comparisons."""

    key: str
    at: float  # seconds since 1970
    total_s: float  # from the start of the worker's process, of a relaunch from the spawn
    origin: str
    compiled: str
    fast_start: bool = False
    relaunch: bool = False

    @property
    def warm(self) -> bool:
        """Whether it found its weights on disk and built no graph that a cache could have held."""
        return self.origin != Origin.HUB and self.compiled != BUILT

    def row(self) -> tuple[str, str]:
        """For a table: when, and how the start went."""
        when = time.strftime("%m-%d %H:%M:%SZ", time.gmtime(self.at))
        kind = "relaunch, " if self.relaunch else ""
        fast = ", FAST_START" if self.fast_start else ""
        return (
            when,
            f"{self.total_s:.1f} s: {kind}weights from: {self.origin or 'no files'}, graphs {self.compiled}{fast}",
        )


@dataclass(frozen=True, slots=True)
class Saving:
    """What something would have saved: seconds less than this start, by the median of `starts` recorded ones."""

    seconds: float | None
    starts: int
    note: str

    def in_words(self) -> str:
        """For the log."""
        return self.note if self.seconds is None or not self.starts else f"{self.seconds:.1f} s ({self.note})"


@dataclass(frozen=True, slots=True)
class StartReceipt:
    """One finished start."""

    record: RecordedStart
    model: str
    phases: tuple[tuple[str, float], ...]
    facts: StartFacts
    weights_bytes: int | None
    download: Transfer | None
    load: Transfer | None
    savings: Mapping[str, Saving] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The payload of /start."""
        facts, record = self.facts, self.record
        return {
            "model": self.model,
            "ready_at": round(record.at, 3),
            "total_s": round(record.total_s, 3),
            "relaunch": record.relaunch,
            "phases": [{"phase": name, "seconds": round(took_s, 3)} for name, took_s in self.phases],
            "weights": {
                "from": record.origin or None,
                "bytes": self.weights_bytes,
                "download": None if self.download is None else self.download.to_json(),
                "load": None if self.load is None else self.load.to_json(),
                "loader": facts.loader or None,
            },
            "caches": {
                "directory": facts.cache_root or None,
                "weights": record.origin not in (Origin.HUB, Origin.STORE, Origin.UNKNOWN),
                **{f"{name} before": warm for name, warm in facts.warm.items()},
                "graphs": record.compiled,
            },
            "fast_start": record.fast_start,
            "machine": facts.machine or None,
            "would_have_saved": {name: asdict(saving) for name, saving in self.savings.items()},
        }

    def rows(self) -> list[tuple[str, str]]:
        """The receipt without the phases, as rows of a table."""
        saved = [
            ("saving", f"{name.replace('_', ' ')}: {saving.in_words()}") for name, saving in self.savings.items()
        ]
        return [("weights", self._weights()), ("graphs", self.record.compiled), *saved]

    def line(self) -> str:
        """The receipt as one log line."""
        phases = ", ".join(f"{name} {took_s:.1f}" for name, took_s in self.phases)
        saved = "; ".join(f"{name.replace('_', ' ')}: {saving.in_words()}" for name, saving in self.savings.items())
        kind = "relaunch" if self.record.relaunch else "start"
        return (
            f"receipt of the {kind}: {self.record.total_s:.1f} s ({phases}); {self._weights()}; "
            f"graphs {self.record.compiled}; would have saved: {saved}"
        )

    def _weights(self) -> str:
        parts = [f"weights from: {self.record.origin or 'no files'}"]
        if self.weights_bytes is not None:
            parts.append(format_size(self.weights_bytes))
        for verb, transfer in (("downloaded", self.download), ("loaded", self.load)):
            if transfer is not None:
                rate = transfer.bytes_per_second
                speed = "" if rate is None else f" ({format_size(round(rate))}/s)"
                parts.append(f"{verb} in {transfer.seconds:.1f} s{speed}")
        return ", ".join(parts)


def median(values: Sequence[float]) -> float:
    """The middle value, of an even number the mean of the two. The standard library's takes 10 ms to import."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def receipt_of(
    start: FinishedStart, weights_bytes: int | None, downloaded_bytes: int | None, now: float
) -> StartReceipt:
    """The receipt of a start, still without savings. `now` is in seconds since 1970."""
    facts = start.facts or StartFacts("")
    before = [("worker", facts.spawned_after_s)] if facts.spawned_after_s and not facts.relaunch else []
    if start.download_s is not None and not any("download" in name for name, _ in start.phases):
        before.append(("download", start.download_s))  # the engine was spawned after it
    record = RecordedStart(
        key=facts.key,
        at=now,
        total_s=start.total_s + sum(took_s for _, took_s in before),
        origin=facts.origin.value,
        compiled=start.figures.compiled or UNUSED,
        fast_start=facts.fast_start,
        relaunch=facts.relaunch,
    )
    download = load = None
    if start.download_s is not None and downloaded_bytes is not None:
        download = Transfer(downloaded_bytes, start.download_s)
    if start.figures.weights_load_s is not None and weights_bytes is not None:
        load = Transfer(weights_bytes, start.figures.weights_load_s)
    model = start.settings.served_names[0]
    return StartReceipt(record, model, (*before, *start.phases), facts, weights_bytes, download, load)


def savings(this: RecordedStart, recorded: Sequence[RecordedStart]) -> dict[str, Saving]:
    """What a warm cache, a baked image and FAST_START would have saved, by the starts recorded before this one."""
    peers = [start for start in recorded if start.key == this.key and start.relaunch == this.relaunch]

    def compare(had: Callable[[RecordedStart], bool], same: Callable[[RecordedStart], object], name: str) -> Saving:
        if had(this):
            return Saving(0.0, 0, f"this start had {name}")
        totals = [start.total_s for start in peers if had(start) and same(start) == same(this)]
        if not totals:
            return Saving(None, 0, f"{NOT_MEASURED}: no start with {name} is recorded")
        middle = median(totals)
        note = f"{len(totals)} recorded with {name}, median {middle:.1f} s"
        return Saving(round(this.total_s - middle, 3), len(totals), note)

    return {
        "warm_cache": compare(lambda start: start.warm, lambda start: start.fast_start, "warm caches"),
        "baked_image": compare(
            lambda start: start.origin == Origin.BAKED,
            lambda start: (start.fast_start, start.compiled),
            "a baked image",
        ),
        "fast_start": compare(
            lambda start: start.fast_start, lambda start: start.origin == Origin.HUB, "FAST_START=1"
        ),
    }
