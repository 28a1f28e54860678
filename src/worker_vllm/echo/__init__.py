"""The stand-in engine for tests and demos: vLLM's routes on the same socket, with scripted speed and failures.

It repeats the last user message, or the prompt, one token per character. Run it with
`python -m worker_vllm.echo --uds PATH`, choose it with `ENGINE=echo`, or serve `EchoApp` in-process.
"""

from worker_vllm.echo.app import EchoApp, Options
from worker_vllm.echo.routes.body import EngineLimits
from worker_vllm.echo.script import Script

__all__ = ["EchoApp", "EngineLimits", "Options", "Script"]
