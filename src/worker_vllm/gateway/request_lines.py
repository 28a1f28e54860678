"""A finished request as one line for a terminal or a log, with the hint of a refusal below it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from worker_vllm.gateway.request_record import RequestRecord

GREEN, RED, YELLOW, DIM, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
UNKNOWN = "–"


@dataclass(frozen=True, slots=True)
class LineStyle:
    """Whether a line has colours."""

    colour: bool = False

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour, where there are any."""
        return f"{colour}{text}{PLAIN}" if self.colour else text


def request_line(found: RequestRecord, style: LineStyle) -> str:
    """Time, status, route, worker, wait, first token, total, tokens, tokens a second, id; a hint on its own line."""
    clock = time.strftime("%H:%M:%S", time.localtime(found.at))
    colour = GREEN if found.status == "200" else YELLOW if not found.status.isdecimal() else RED
    about = "~" if found.estimated else ""
    tokens = f"{_count(found.tokens_in)} → {about}{_count(found.tokens_out)} tokens"
    rate = UNKNOWN if found.tokens_per_s is None else f"{about}{found.tokens_per_s:.1f}"
    parts = [
        clock,
        style.paint(found.status, colour),
        printable(found.route),
        printable(found.worker) or UNKNOWN,
        f"wait {_seconds(found.wait_s)}",
        f"first {_seconds(found.first_s)}",
        f"total {_seconds(found.total_s)}",
        tokens,
        f"{rate}/s",
        style.paint(printable(found.id), DIM),
    ]
    line = "  ".join(parts)
    return f"{line}\n          {printable(found.hint)}" if found.hint else line


def printable(text: str) -> str:
    """A text from outside without characters that control a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _seconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f} s"


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else str(value)
