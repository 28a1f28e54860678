"""What is quoted of the engine's log: its last message, without escapes, progress bars, other processes' errors."""

from __future__ import annotations

import pytest

from worker_vllm.engine.diagnosis.diagnose import EngineExit, diagnose
from worker_vllm.engine.diagnosis.log_excerpt import plain, quotable

CAUSE = "FluxError: the capacitor is cold"
BAR = "Loading safetensors checkpoint shards: 100% Completed | 1/1 [00:00<00:00, 14.30it/s]"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("\x1b[1;36m(APIServer pid=1)\x1b[0;0m \x1b[31mERROR\x1b[0m 11-22 14:00:00 [x.py:1] text", "text"),
        ("(Worker_TP0 pid=1) ERROR 11-22 14:00:00 [x.py:1] [rank0]: ValueError: no", "ValueError: no"),
        ("  0%|          | 0/1\r100%|██████████| 1/1\rdone", "done"),
        ("\x1b]0;title\x07plain\x1b(B", "plain"),
        ("as it is", "as it is"),
    ],
    ids=["colours", "ranks", "carriage returns", "other escapes", "nothing"],
)
def test_prefixes_and_escapes_are_removed(line: str, words: str) -> None:
    """Prefixes, colours and overwritten text."""
    assert plain(line) == words


@pytest.mark.parametrize(
    "noise",
    [
        [BAR],
        ["Capturing CUDA graphs:  35%|███▌      | 7/20 [00:01<00:02,  5.6it/s]"],
        [
            "/usr/lib/python3.12/multiprocessing/resource_tracker.py:254: UserWarning: resource_tracker: There "
            "appear to be 1 leaked shared_memory objects to clean up at shutdown",
            "  warnings.warn('resource_tracker: There appear to be %d '",
        ],
        ["[W1125 09:38:29.322 utils.cpp:68] Warning: NUMA binding (function init_cpu_memory_env)"],
        ["nanobind: leaked 2 instances!", ' - leaked instance 0x7f of type "x"'],
        ["Process EngineCore:", "Traceback (most recent call last):", '  File "x.py", line 1, in f', "    f()"],
        ["(Worker pid=2) INFO 11-22 14:00:00 [core.py:1] [shutdown] EngineCore: exiting busy loop"],
        ["Exception ignored in: <function f at 0x7f>", "Traceback (most recent call last):", "OSError: gone"],
        ["Traceback (most recent call last):", "KeyboardInterrupt"],
        ["Traceback (most recent call last):", "BrokenPipeError: [Errno 32] Broken pipe"],
        ["asyncio.exceptions.CancelledError"],
        ["zmq.error.ContextTerminated: Context was terminated"],
        ["RuntimeError: Engine core initialization failed. See root cause above."],
        ["           ^^^^^^^^^^"],
        ["", "   "],
    ],
    ids=lambda lines: lines[0][:24],
)
@pytest.mark.parametrize("cause", [CAUSE, "the disk is on fire"])
def test_noise_after_the_last_message_is_not_quoted(cause: str, noise: list[str]) -> None:
    """Progress bars, warnings at exit, other processes' tracebacks."""
    sentence = diagnose(EngineExit(3, (cause, *noise), phase="load")).sentence
    assert sentence == (
        f'the engine did not start (phase: load): it exited with status 3; its last message: "{cause}"; '
        "see the worker's log"
    )


def test_another_processs_error_is_quoted_where_there_is_no_other() -> None:
    """An exception that is no cause is the last choice; a progress bar is never quoted."""
    assert quotable(["BrokenPipeError: [Errno 32] Broken pipe"]) == "BrokenPipeError: [Errno 32] Broken pipe"
    assert quotable([BAR]) == ""
