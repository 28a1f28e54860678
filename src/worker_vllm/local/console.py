"""Console output of `worker-vllm local`: the phases of the start, then code to paste."""

from __future__ import annotations

import os
import sys
import time
from typing import Protocol

from rich.console import Console
from rich.status import Status


class StartConsole(Protocol):
    """The output for the user."""

    @property
    def interactive(self) -> bool:
        """Whether it is a terminal: only there are colours and keys."""

    def phase(self, text: str) -> None:
        """Show that a phase of the start has begun."""

    def print_line(self, text: str) -> None:
        """Print a line."""

    def finish(self) -> None:
        """End the display of phases; called when the start is over."""


class PlainConsole:
    """Plain lines, for logs and pipes."""

    interactive = False

    def __init__(self) -> None:
        self._started_at = time.monotonic()

    def phase(self, text: str) -> None:
        """Print the phase with the seconds since the start."""
        self.print_line(f"{time.monotonic() - self._started_at:6.1f} s  {text}")

    def print_line(self, text: str) -> None:
        """Print the line; discard it when standard output is closed."""
        try:
            print(text, flush=True)  # noqa: T201
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def finish(self) -> None:
        """Do nothing."""


class TerminalConsole:
    """Finished phases as lines, the current one as a spinner."""

    interactive = True

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started_at = time.monotonic()
        self._status: Status | None = None
        self._current = ""

    def phase(self, text: str) -> None:
        """Print the finished phase and show the next."""
        self._finish_phase()
        self._current = text
        self._status = self._console.status(f"{text} …")
        self._status.start()

    def print_line(self, text: str) -> None:
        """Print the line above the spinner; escape sequences in it reach the terminal."""
        if self._status is None:
            self._console.file.write(f"{text}\n")
            self._console.file.flush()
        else:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def finish(self) -> None:
        """Print the last phase and remove the spinner."""
        self._finish_phase()

    def _finish_phase(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._console.print(
                f"[dim]{time.monotonic() - self._started_at:6.1f} s[/]  {self._current}", highlight=False
            )
            self._status = None


def open_console() -> StartConsole:
    """A terminal console when standard output is a terminal, else a plain one."""
    return TerminalConsole(Console()) if sys.stdout.isatty() else PlainConsole()


def curl_command(base_url: str, route: str, model: str, key: str) -> str:
    """A curl command that calls the endpoint."""
    header = ' -H "Authorization: Bearer $GATEWAY_API_KEY"' if key else ""
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello, parrot!"}}]}}'
    return f"curl {base_url}{route}/chat/completions{header} -H 'Content-Type: application/json' -d '{body}'"


def snippets(base_url: str, route: str, model: str, key: str) -> str:
    """A curl command and five lines of Python that call the endpoint; `route` is that of the OpenAI API below it."""
    shown_key = 'os.environ["GATEWAY_API_KEY"]' if key else '"none"'
    imports = "import os; from openai import OpenAI" if key else "from openai import OpenAI"
    page = base_url.rpartition("/")[0].rpartition("/")[0]
    return f"""\
Ready: {base_url}

  {curl_command(base_url, route, model, key)}

  {imports}
  client = OpenAI(base_url="{base_url}{route}", api_key={shown_key})
  question = [{{"role": "user", "content": "Hello, parrot!"}}]
  answer = client.chat.completions.create(model="{model}", messages=question)
  print(answer.choices[0].message.content)

Console: {page}/
Ctrl-C stops everything."""
