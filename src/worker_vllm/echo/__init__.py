"""The engine that we ship for tests and demos: vLLM's routes on the same socket, scripted speed and failures.

It repeats the last user message, or the prompt, one character a token. Run it with
`python -m worker_vllm.echo --uds PATH`, choose it with `ENGINE=echo`, or serve `EchoApp` in-process.
"""

from worker_vllm.echo.app import EchoApp, Options
from worker_vllm.echo.routes.body import Bounds
from worker_vllm.echo.script import Script

__all__ = ["Bounds", "EchoApp", "Options", "Script"]
