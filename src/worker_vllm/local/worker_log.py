"""What a worker's log says about its start: numbered lines, and the phases with their times. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from worker_vllm.gateway.fleet.interface import LogRecord
from worker_vllm.local.start_progress import LogLine

KEPT_LINES = 2_000
LONGEST_LINE = 4_000
STARTING = "starting the worker"


@dataclass(frozen=True, slots=True)
class PhaseStart:
    """A phase of a start, and when it began."""

    name: str
    at: float


@dataclass(slots=True)
class PhaseTracker:
    """The phases of one worker's start, read from its log records in their order."""

    phases: list[PhaseStart] = field(default_factory=list)
    reason: str = ""  # of the last error
    read: int = 0  # the number of the last record that was read

    def add(self, record: LogRecord) -> None:
        """Read one record; records that were read before are skipped."""
        if record.number <= self.read:
            return
        self.read = record.number
        line = LogLine(record.level, record.message, record.engine)
        if line.phase and all(phase.name != line.phase for phase in self.phases):
            self.phases.append(PhaseStart(line.phase, record.at))
        if line.reason:
            self.reason = line.reason


@dataclass(slots=True)
class LogTail:
    """The last lines of a worker's log."""

    records: deque[LogRecord] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    count: int = 0

    def add(self, line: LogLine, at: float) -> LogRecord:
        """Append a line with the next number."""
        self.count += 1
        record = LogRecord(self.count, at, line.level, line.message[:LONGEST_LINE], line.engine)
        self.records.append(record)
        return record

    def after(self, number: int) -> list[LogRecord]:
        """The kept lines with a higher number."""
        return [record for record in self.records if record.number > number]
