"""The diagnosis of every recording of the real CPU engine, and of messages that only a GPU or the hub causes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.real.faults import FAULTS, LIMITS, Fault
from worker_vllm.engine.diagnosis.diagnose import EngineExit, diagnose
from worker_vllm.engine.diagnosis.types import Remedy, Scope
from worker_vllm.engine.supervision.oom_counter import oom_kills

RECORDINGS = Path(__file__).with_name("recordings")
CUDA_OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.5 GiB"
)


def recorded(name: str) -> EngineExit:
    """The recorded exit of the real engine."""
    status, *lines = (RECORDINGS / f"{name}.txt").read_text().splitlines()
    return EngineExit(int(status.split()[-1]), tuple(lines), phase="load", model="nobody/no-such-model")


@pytest.mark.parametrize("fault", [*FAULTS, *LIMITS], ids=lambda fault: fault.name)
def test_a_recorded_fault_has_its_cause_and_sentence(fault: Fault) -> None:
    """Each recorded exit of the CPU engine: its cause, and parts of its sentence."""
    diagnosis = diagnose(recorded(fault.name))
    assert (diagnosis.cause, diagnosis.scope) == (fault.cause, Scope.SETTINGS)
    for part in fault.contains:
        assert part in diagnosis.sentence
    assert "{" not in diagnosis.sentence
    assert "\n" not in diagnosis.sentence


def test_every_recording_has_a_fault() -> None:
    """No file of the folder is unused."""
    assert {path.stem for path in RECORDINGS.glob("*.txt")} == {fault.name for fault in (*FAULTS, *LIMITS)}


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.txt")), ids=lambda path: path.stem)
def test_recordings_contain_no_path_of_their_machine(path: Path) -> None:
    """Neither of a home, a temporary folder nor an installation."""
    for machine in ("/root/", "/home/", "/tmp/", "site-packages/"):
        assert machine not in path.read_text().replace("…/", "")


@pytest.mark.parametrize(
    ("lines", "was_ready", "cause", "scope", "remedy"),
    [
        (
            ["(Worker pid=1) INFO 11-22 14:00:00 [a.py:1] Starting to load model x...", CUDA_OOM],
            False,
            "out of memory at load",
            Scope.SETTINGS,
            None,
        ),
        (
            ["Starting to load model x...", "Loading weights took 3.21 seconds", CUDA_OOM],
            False,
            "out of memory at profiling",
            Scope.SETTINGS,
            Remedy.LESS_MEMORY,
        ),
        ([CUDA_OOM], True, "out of memory at run time", Scope.PASSING, Remedy.LESS_MEMORY),
        (["OSError: [Errno 28] No space left on device"], True, "disk full", Scope.HOST, None),
        (
            ["PermissionError: [Errno 13] Permission denied: '/cache/x'"],
            False,
            "cache not writable",
            Scope.SETTINGS,
            None,
        ),
        (["ValueError: current platform cpu does not support ray."], False, "Ray unsupported", Scope.SETTINGS, None),
        (["OSError: [Errno 98] Address already in use"], False, "port taken", Scope.SETTINGS, None),
        (
            ["RuntimeError: The NVIDIA driver on your system is too old (found version 12020)."],
            False,
            "driver too old",
            Scope.HOST,
            None,
        ),
        (["RuntimeError: No CUDA GPUs are available"], False, "GPU missing", Scope.HOST, None),
        (
            ["RuntimeError: CUDA error: an illegal memory access was encountered"],
            True,
            "GPU broken",
            Scope.HOST,
            None,
        ),
        (["RuntimeError: NCCL error in: nccl.cpp:77, unhandled cuda error"], False, "NCCL failed", Scope.HOST, None),
        (
            ["ValueError: Free memory on device cuda:0 (3.1/23.5 GiB) on startup is less than desired GPU memory"],
            False,
            "GPU in use",
            Scope.SETTINGS,
            None,
        ),
        (
            [
                "Cannot access gated repo for url https://huggingface.co/meta-llama/Llama-3.1-8B/resolve/main/config.json."
            ],
            False,
            "gated",
            Scope.SETTINGS,
            None,
        ),
        (
            ["Revision Not Found for url: https://huggingface.co/org/m/resolve/v9/config.json."],
            False,
            "revision gone",
            Scope.SETTINGS,
            Remedy.AGAIN,
        ),
        (
            ["Repository Not Found for url: https://huggingface.co/api/models/org/m."],
            False,
            "model not found",
            Scope.SETTINGS,
            None,
        ),
        (["huggingface_hub.errors.HfHubHTTPError: Invalid user token."], False, "token wrong", Scope.SETTINGS, None),
        (
            ["ValueError: The quantization method awq_marlin is not supported for the current GPU. Minimum 80."],
            False,
            "quantization unsupported",
            Scope.SETTINGS,
            None,
        ),
        (
            ["ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4"],
            False,
            "type unsupported",
            Scope.SETTINGS,
            None,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_faults_of_gpu_and_hub(
    lines: list[str], was_ready: bool, cause: str, scope: Scope, remedy: Remedy | None
) -> None:
    """Messages of vLLM 0.32.0, PyTorch 2.13 and huggingface_hub, not recorded here."""
    diagnosis = diagnose(EngineExit(1, tuple(lines), was_ready=was_ready))
    assert (diagnosis.cause, diagnosis.scope, diagnosis.remedy) == (cause, scope, remedy)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-9, "it was killed by SIGKILL (most often the machine's memory ran out)"),
        (-4, "it was killed by SIGILL (the processor lacks an instruction that this build uses)"),
        (-11, "it was killed by SIGSEGV (a crash in native code)"),
        (-34, "it was killed by SIGRTMIN"),
        (-35, "it was killed by signal 35"),
        (-63, "it was killed by signal 63"),
        (3, "it exited with status 3"),
    ],
)
def test_an_exit_without_a_message_is_described_by_its_status(code: int, words: str) -> None:
    """Signals are explained; these faults may not occur again."""
    diagnosis = diagnose(EngineExit(code, (), phase="load"))
    assert diagnosis.scope is Scope.PASSING
    assert diagnosis.sentence == f"the engine did not start (phase: load): {words}; see the worker's log"


def test_a_kill_by_the_kernel_is_distinguished_from_other_kills(tmp_path: Path) -> None:
    """By its counter, in either version of control groups; the log contains no message."""
    diagnosis = diagnose(EngineExit(None, (), reason="EngineCore (process 7) ended", was_ready=True, oom_killed=True))
    assert (diagnosis.cause, diagnosis.scope) == ("out of machine memory", Scope.PASSING)
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")
    names = ("none", "memory.events", "memory.oom_control")
    assert [oom_kills((tmp_path / name,)) for name in names] == [0, 2, 5]


def test_an_unknown_exit_quotes_the_log() -> None:
    """The last exception that is not about another process's exit."""
    lines = (
        "(Worker pid=3) ERROR 11-22 14:00:00 [x.py:1] Traceback (most recent call last):",
        '(Worker pid=3) ERROR 11-22 14:00:00 [x.py:1]   File "x.py", line 1, in f',
        "(Worker pid=3) ERROR 11-22 14:00:00 [x.py:1] FluxError: the capacitor is cold",
        "RuntimeError: Engine core initialization failed. See root cause above.",
    )
    diagnosis = diagnose(EngineExit(1, lines, phase="load"))
    assert diagnosis.sentence == (
        "the engine did not start (phase: load): it exited with status 1; "
        'its last message: "FluxError: the capacitor is cold"; see the worker\'s log'
    )


def test_source_lines_of_a_traceback_are_no_messages() -> None:
    """Source lines contain messages before formatting."""
    lines = (
        "    raise OSError(f\"config file at '{path}' is not a valid JSON file.\")",
        "ValueError: something else",
    )
    assert diagnose(EngineExit(1, lines)).cause == "unknown"
