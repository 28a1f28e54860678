"""What `worker-vllm local` shows: the parts of the start as they come, then what to paste."""

from __future__ import annotations

import os
import sys
import time
from typing import Protocol

from rich.console import Console
from rich.status import Status


class StartConsole(Protocol):
    """Where a person looks."""

    def phase(self, text: str) -> None:
        """Another part of the start is under way."""

    def print_line(self, text: str) -> None:
        """Something worth a line of its own."""

    def finish(self) -> None:
        """The start is over."""


class PlainConsole:
    """One line each, for logs and pipes."""

    def __init__(self) -> None:
        self._started_at = time.monotonic()

    def phase(self, text: str) -> None:
        """A line with the seconds since the start."""
        self.print_line(f"{time.monotonic() - self._started_at:6.1f} s  {text}")

    def print_line(self, text: str) -> None:
        """The line as it is; once nobody reads any more, nothing."""
        try:
            print(text, flush=True)  # noqa: T201
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def finish(self) -> None:
        """Nothing to take back."""


class TerminalConsole:
    """Finished parts as lines, the current one as a spinner with a running clock."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started_at = time.monotonic()
        self._status: Status | None = None
        self._current = ""

    def phase(self, text: str) -> None:
        """Tick the current part off and show the next."""
        self._tick_off()
        self._current = text
        self._status = self._console.status(f"{text} …")
        self._status.start()

    def print_line(self, text: str) -> None:
        """The line above the spinner."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def finish(self) -> None:
        """Tick the last part off."""
        self._tick_off()

    def _tick_off(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._console.print(
                f"[dim]{time.monotonic() - self._started_at:6.1f} s[/]  {self._current}", highlight=False
            )
            self._status = None


def open_console() -> StartConsole:
    """The screen that fits standard output."""
    return TerminalConsole(Console()) if sys.stdout.isatty() else PlainConsole()


def snippets(base_url: str, model: str, key: str) -> str:
    """What to paste: a curl line and five lines of Python."""
    header = ' -H "Authorization: Bearer $GATEWAY_API_KEY"' if key else ""
    shown_key = 'os.environ["GATEWAY_API_KEY"]' if key else '"none"'
    imports = "import os; from openai import OpenAI" if key else "from openai import OpenAI"
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello, parrot!"}}]}}'
    return f"""\
Ready: {base_url}

  curl {base_url}/openai/v1/chat/completions{header} -H 'Content-Type: application/json' -d '{body}'

  {imports}
  client = OpenAI(base_url="{base_url}/openai/v1", api_key={shown_key})
  question = [{{"role": "user", "content": "Hello, parrot!"}}]
  answer = client.chat.completions.create(model="{model}", messages=question)
  print(answer.choices[0].message.content)

Ctrl-C stops everything."""
