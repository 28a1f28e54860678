"""Prints the traceback of an uncaught exception without the environment's secrets."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType


def install() -> None:
    """Print uncaught exceptions of this process without secrets."""
    sys.excepthook = _print


def crash_text(error: BaseException, environment: Mapping[str, str]) -> str:
    """The traceback of an exception, with every secret of the environment replaced."""
    from worker_vllm.settings.sources.environment import redactor

    return redactor(environment)("".join(traceback.format_exception(error)))


def _print(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    sys.stderr.write(crash_text(error, os.environ))
