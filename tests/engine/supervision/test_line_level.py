"""The level of the engine's lines."""

from __future__ import annotations

import logging

from worker_vllm.engine.supervision.line_level import LineLevel

LINES = (
    ("INFO 11-25 12:00:01 [api_server.py:1] vLLM API server version 0.32.0", logging.INFO),
    ("(EngineCore pid=7) WARNING 11-25 12:00:01 [cpu.py:3] slow", logging.WARNING),
    ("(APIServer pid=9) ERROR 11-25 12:00:01 [core.py:4] Traceback (most recent call last):", logging.ERROR),
    ("DEBUG 11-25 12:00:01 [x.py:1] detail", logging.DEBUG),
    ("INFO:     Started server process [1]", logging.INFO),
    ("ERROR:    Exception in ASGI application", logging.ERROR),
    ("INFORMATION is no level", logging.INFO),
    ("(Worker pid=3) Traceback (most recent call last):", logging.ERROR),
    ('  File "x.py", line 1, in f', logging.ERROR),
    ("(Worker pid=3)     raise ValueError(1)", logging.ERROR),
    ("ValueError: 1", logging.ERROR),
    ("Loading weights: 100%", logging.INFO),
)


def test_each_line_has_the_level_that_the_engine_gave_it() -> None:
    """vLLM's format and uvicorn's; a bare traceback is an error up to its last line; the rest is INFO."""
    level = LineLevel()
    assert [level.of(line) for line, _ in LINES] == [wanted for _, wanted in LINES]
