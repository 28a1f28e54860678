"""What `worker-vllm local` prints after 'Ready': what runs here, a line for each request, and answers to keys."""

from __future__ import annotations

import base64
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass

from worker_vllm.errors import WorkerError
from worker_vllm.gateway.fleet.fleet_control import FleetControl, WorkerState
from worker_vllm.gateway.request_lines import LineStyle, printable, request_line
from worker_vllm.gateway.request_log import RequestLog
from worker_vllm.gateway.request_record import RequestRecord
from worker_vllm.local.keyboard import Keyboard

LAST_REQUESTS = 10
LAST_LINES = 20
KEYS = "keys: j jobs · w workers · l logs · c copy curl · o open console"


@dataclass(frozen=True, slots=True)
class TerminalContext:
    """What the terminal shows, and how it prints."""

    requests: RequestLog
    control: FleetControl
    console_url: str
    print_line: Callable[[str], None]
    interactive: bool  # standard output is a terminal
    open_url: Callable[[str], object] = webbrowser.open


class LiveTerminal:
    """Prints from `open` to `close`; keys and colours only on a terminal."""

    def __init__(self, context: TerminalContext) -> None:
        self._context = context
        self._style = LineStyle(colour=context.interactive)
        self._curl = ""
        self._keyboard = Keyboard(self._press)

    def open(self, summary: str, curl: str) -> None:
        """Print what runs here, then follow the requests."""
        self._curl = curl
        context = self._context
        context.print_line(summary)
        context.requests.listeners.append(self._show)
        if context.interactive and self._keyboard.open():
            context.print_line(KEYS)

    def close(self) -> None:
        """Restore the terminal."""
        self._keyboard.close()

    def _show(self, found: RequestRecord) -> None:
        self._context.print_line(request_line(found, self._style))

    def _press(self, key: str) -> None:
        answers = {"j": self._jobs, "w": self._workers, "l": self._logs, "c": self._copy, "o": self._open}
        if answer := answers.get(key.lower()):
            answer()

    def _jobs(self) -> None:
        last = self._context.requests.last(LAST_REQUESTS)
        self._context.print_line(f"the last {len(last)} requests:" if last else "no request has ended yet")
        for found in last:
            self._context.print_line(request_line(found, self._style))

    def _workers(self) -> None:
        for line in worker_lines(self._context.control):
            self._context.print_line(line)

    def _logs(self) -> None:
        for worker in self._context.control.report().workers:
            try:
                lines = self._context.control.log(worker.id, 0)[-LAST_LINES:]
            except WorkerError:  # it ended in between
                continue
            for line in lines:
                self._context.print_line(f"{worker.id}: {printable(line.message)}")

    def _copy(self) -> None:
        """Put the command into the clipboard by the terminal's own escape sequence (OSC 52), and print it."""
        encoded = base64.b64encode(self._curl.encode()).decode()
        self._context.print_line(f"\x1b]52;c;{encoded}\x07{self._curl}")

    def _open(self) -> None:
        self._context.print_line(self._context.console_url)
        # A daemon: some browsers return only when they are closed, and Ctrl-C must not wait for that.
        threading.Thread(target=self._context.open_url, args=(self._context.console_url,), daemon=True).start()


def worker_lines(control: FleetControl) -> list[str]:
    """One line for each worker: id, state, phase of its start, jobs, process."""
    lines = []
    for worker in control.report().workers:
        process = "" if worker.pid is None else f"  process {worker.pid}"
        phase = f" ({worker.phase})" if worker.phase and worker.state is WorkerState.INITIALIZING else ""
        lines.append(f"{worker.id}  {worker.state}{phase}  {_plural(worker.jobs, 'job')}{process}")
    return lines or ["no workers"]


def summary(version: str, engine: str, model: str, workers: int) -> str:
    """What runs here, in one line."""
    return f"worker-vllm {version} · {engine} · model {printable(model)} · {_plural(workers, 'worker')}"


def stopping(running: int, waiting: int) -> str:
    """What Ctrl-C waits for."""
    if not running and not waiting:
        return "stopping; press Ctrl-C again to force"
    rest = f" (and {_plural(waiting, 'job')} in the queue)" if waiting else ""
    return f"stopping: waits for {_plural(running, 'running job')}{rest}; press Ctrl-C again to force"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
