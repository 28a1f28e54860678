"""The command line: `worker-vllm VERB`. A verb's module is imported only when it is called, so that --help is fast.

This module imports almost nothing: until `main` runs, a signal to a container's first process is lost.
"""

from __future__ import annotations

import sys

from worker_vllm import container_init

TYPE_CHECKING = False  # type checkers take it for true; importing `typing` would cost more than this whole module
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from typing import Protocol

    class Command(Protocol):
        """A verb's module: `add_arguments` declares its options, `run` returns the exit status."""

        add_arguments: Callable[[argparse.ArgumentParser], None]
        run: Callable[[argparse.Namespace], int]


VERBS = {
    "start": "run the worker: the container's entry point, mode from the environment",
    "local": "gateway + workers + engine on this machine, no account needed",
    "gateway": "a local RunPod platform alone; workers attach by RUNPOD_WEBHOOK_*",
    "jobs": "the last requests of a running gateway",
    "logs": "the logs of a running gateway's workers",
    "config": "show, check or translate the effective settings; check a form",
    "bake": "put a model into an image",
    "doctor": "check this machine and these settings, with a short real start",
    "health": "the container's health check",
}


def load_command(verb: str) -> Command:
    """Import the module of a verb."""
    import importlib

    command: Command = importlib.import_module(f"worker_vllm.commands.{verb}")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit status: 0, 2 for wrong usage, 78 for invalid settings, else 1."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = arguments[0] if arguments else ""
    container_init.become_init(serves=verb == "start")
    if verb in VERBS:
        import argparse

        from worker_vllm.observability.crash import install

        install()
        command = load_command(verb)
        parser = argparse.ArgumentParser(prog=f"worker-vllm {verb}", description=VERBS[verb])
        command.add_arguments(parser)
        return command.run(parser.parse_args(arguments[1:]))
    return _help(arguments)


def _help(arguments: list[str]) -> int:
    import argparse

    from worker_vllm import __version__

    lines = "\n".join(f"  {verb:<10} {text}" for verb, text in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="worker-vllm",
        usage="worker-vllm VERB [options]",
        epilog=f"verbs:\n{lines}\n\nworker-vllm VERB --help lists a verb's options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"worker-vllm {__version__}")
    parser.add_argument("verb", choices=VERBS, metavar="VERB")
    parser.parse_args(arguments)
    return 2
