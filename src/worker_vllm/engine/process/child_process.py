"""The engine as a child process: spawned before the event loop runs, adopted by it later, stopped in bounded time.

`spawn` needs the standard library alone and no event loop, so that the engine starts before the worker's imports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from worker_vllm.engine.process.command import child_environment, engine_argv, launch_file, serve_arguments
from worker_vllm.engine.process.guard import end_session, remove_directory
from worker_vllm.engine.process.launch_directory import fresh_directory, remove_remains
from worker_vllm.engine.process.log_tail import LogTail

if TYPE_CHECKING:
    import asyncio

    from worker_vllm.settings.types import EngineSettings

GUARD = Path(__file__).with_name("guard.py")
GRACE_S = 5.0
STOP_MARGIN_S = 10.0  # more than the guard's own KILL_TIMEOUT_S
PIPE_BYTES = 1 << 20  # what the engine can log before the event loop reads
READ_BYTES = 1 << 16
LOG_PAUSE_S = 0.01  # between two reads: each request writes lines, and a wake-up costs more than reading them
F_SETPIPE_SZ = 1031


class EngineProcess:
    """One launch of the engine: its guard process, its directory with the socket, its log.

    `arguments_pipe` is the writing end of the pipe for the arguments of a `waiting` engine, else -1.
    """

    def __init__(self, guard: subprocess.Popen[bytes], directory: str, log: int, arguments_pipe: int = -1) -> None:
        self._guard = guard
        self._directory = directory
        self._log = log
        self._arguments_pipe = arguments_pipe
        self._exited: asyncio.Event | None = None
        self.spawned_at = time.monotonic()
        self.tail = LogTail()

    @property
    def socket(self) -> str:
        """Path of the Unix socket that the engine serves HTTP on."""
        return f"{self._directory}/engine.sock"

    @property
    def pid(self) -> int:
        """The guard's process id; every process of the engine is its descendant."""
        return self._guard.pid

    @property
    def exit_code(self) -> int | None:
        """The engine's exit status, negative for a signal, None while it runs."""
        return self._guard.returncode

    def adopt(self, on_line: Callable[[str], None], on_report: Callable[[bytes], None] = lambda report: None) -> None:
        """Let the running event loop read the log and wait for the exit; every line goes to one of the two."""
        import asyncio

        loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        self.tail.on_line, self.tail.on_report = on_line, on_report
        pidfd = os.pidfd_open(self._guard.pid)
        loop.add_reader(pidfd, self._on_exit, loop, pidfd)
        os.set_blocking(self._log, False)
        self._watch_log(loop)

    def send_arguments(self, settings: EngineSettings) -> bool:
        """Send an engine that was spawned `waiting` its arguments; False when it exited or the pipe is too small."""
        message = json.dumps(serve_arguments(settings, self.socket)).encode()
        try:
            if self.exit_code is not None or os.write(self._arguments_pipe, message) < len(message):
                return False
        except BrokenPipeError:
            return False
        self._close_arguments_pipe()
        return True

    async def wait(self) -> int:
        """The exit status, once the engine exited, its log is read and its guard has cleaned up."""
        assert self._exited is not None, "adopt() first"
        await self._exited.wait()
        code = self._guard.returncode
        assert code is not None
        return code

    def take_inventory(self) -> None:
        """Have the guard list the shared memory in use, so that it can remove it when all its users die at once."""
        assert self._guard.stdin is not None
        try:
            self._guard.stdin.write(b"i")
        except BrokenPipeError:
            return

    async def stop(self) -> None:
        """Stop the engine: SIGTERM, then SIGKILL after GRACE_S; returns when its guard has cleaned up."""
        import asyncio

        if self._guard.returncode is None:
            self._guard.terminate()
        try:
            async with asyncio.timeout(GRACE_S + STOP_MARGIN_S):
                await self.wait()
        except TimeoutError:
            self._guard.kill()
            await self.wait()

    async def kill(self) -> None:
        """Kill the engine; returns when its guard has cleaned up."""
        self.abandon()
        await self.wait()

    def abandon(self) -> None:
        """Have the guard kill the engine at once, as when the worker dies. Needs no event loop and does not wait."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()

    def wait_ended(self) -> None:
        """Block until an abandoned engine that was never adopted has exited."""
        self._guard.wait(STOP_MARGIN_S)
        os.close(self._log)
        self._close_arguments_pipe()

    def _watch_log(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._log >= 0:
            loop.add_reader(self._log, self._on_log, loop)

    def _on_log(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            data = os.read(self._log, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._close_log(loop)
            return
        self.tail.feed(data)
        if len(data) < READ_BYTES:
            loop.remove_reader(self._log)
            loop.call_later(LOG_PAUSE_S, self._watch_log, loop)

    def _close_arguments_pipe(self) -> None:
        if self._arguments_pipe >= 0:
            os.close(self._arguments_pipe)
            self._arguments_pipe = -1

    def _close_log(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._log >= 0:
            loop.remove_reader(self._log)
            os.close(self._log)
            self._log = -1
            self.tail.close()

    def _on_exit(self, loop: asyncio.AbstractEventLoop, pidfd: int) -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        self._guard.wait()
        if os.path.isdir(self._directory):  # the guard was killed before it could clean up
            end_session(self._guard.pid)
            remove_remains(self._directory)
        while self._log >= 0:
            try:
                if data := os.read(self._log, READ_BYTES):
                    self.tail.feed(data)
                    continue
            except BlockingIOError:
                pass  # a process that outlived the guard holds the pipe; what it writes is not the engine's log
            self._close_log(loop)
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            self._guard.stdin.close()
        self._close_arguments_pipe()
        assert self._exited is not None
        self._exited.set()


def spawn(settings: EngineSettings, environment: Mapping[str, str], *, waiting: bool = False) -> EngineProcess:
    """Start the engine under its guard, in a fresh directory that only this user may enter.

    With `waiting`, the engine imports its modules and then waits for `send_arguments`; its environment is final.
    Raises OSError, and then leaves no directory and no open pipe behind.
    """
    directory = fresh_directory()
    write_files(settings, directory)
    log_reader, log_writer = os.pipe()
    enlarge(log_reader)
    arguments_fd, arguments_pipe = open_arguments_pipe() if waiting else (None, -1)
    argv = engine_argv(settings, f"{directory}/engine.sock", arguments_fd)
    command = [sys.executable, "-I", "-S", str(GUARD), directory, str(GRACE_S), *argv]
    child_ends = (log_writer,) if arguments_fd is None else (log_writer, arguments_fd)
    try:
        guard = subprocess.Popen(
            command,
            bufsize=0,
            env=child_environment(settings, environment, directory),
            stdin=subprocess.PIPE,
            stdout=log_writer,
            stderr=log_writer,
            start_new_session=True,
            pass_fds=child_ends[1:],
        )
    except OSError:
        close_all(log_reader, *([arguments_pipe] if waiting else []))
        remove_directory(directory)
        raise
    finally:
        close_all(*child_ends)
    return EngineProcess(guard, directory, log_reader, arguments_pipe)


def write_files(settings: EngineSettings, directory: str) -> None:
    """Write the launch's files; only this user can read them. Raises OSError, and then leaves no directory behind."""
    try:
        for variable, content in settings.files.items():
            descriptor = os.open(launch_file(directory, variable), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
    except OSError:
        remove_directory(directory)
        raise


def open_arguments_pipe() -> tuple[int, int]:
    """Reading and writing end of the pipe for a waiting engine's arguments; writing to it never blocks."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    return reader, writer


def close_all(*descriptors: int) -> None:
    """Close file descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def enlarge(pipe: int) -> None:
    """Enlarge the log pipe to PIPE_BYTES; where the kernel refuses, it keeps its size."""
    import fcntl

    try:
        fcntl.fcntl(pipe, F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        return
