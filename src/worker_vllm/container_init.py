"""The init process of a container: it runs the worker as a child, reaps orphans and forwards signals.

The kernel treats process 1 specially: a signal without a handler is dropped, and every orphan becomes its child and
must be reaped by it. If the worker reaped orphans itself, it would consume the exit status of children that its own
code waits for. So process 1 forks before other modules are imported and does nothing else.

It installs no handlers. It blocks all signals and receives them one by one with `sigwait`: a blocked signal is never
dropped, not even before this module runs, if the entry point blocks SIGTERM first (`env --block-signal`).
"""

from __future__ import annotations

import os
import signal
import sys

INIT_PID = 1
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Raised by a fault of the process itself: blocking them would only hide a crash.
FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS}


def become_init(*, serves: bool) -> None:
    """Fork if this is process 1: the parent stays as init, and this function returns in the child.

    Unblocks the stop signals. With `serves`, a stop before the verb has installed its own handlers exits with 0.
    """
    if os.getpid() == INIT_PID:
        fork_below()
    if serves:
        for number in STOP_SIGNALS:
            signal.signal(number, exit_on_signal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def exit_on_signal(number: int, _: object) -> None:
    """Exit at once with status 0: no job was taken yet, and the guard ends an engine that was started."""
    os.write(2, f"stopped by {signal.Signals(number).name} before the start was complete\n".encode())
    os._exit(0)


def fork_below() -> None:
    """Fork. The child returns in its own process group; this process exits with the child's status."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - FAULTS)
    child = os.fork()
    if child:
        os._exit(forward_signals(child))
    os.setpgid(0, 0)  # Ctrl-C at the container's terminal must not reach the child twice, once forwarded
    take_terminal()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def take_terminal() -> None:
    """Make this process group the foreground group of the container's terminal, if there is one."""
    try:
        if sys.stdin is not None and sys.stdin.isatty():
            os.tcsetpgrp(sys.stdin.fileno(), os.getpid())
    except OSError:  # another session controls the terminal
        return


def forward_signals(child: int) -> int:
    """Forward signals and reap until the child exits. Returns its status as a shell reports it (128 + signal)."""
    while True:
        number = signal.sigwait(signal.valid_signals() - FAULTS)
        if number != signal.SIGCHLD:
            os.kill(child, number)
        elif (status := reap(child)) is not None:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def reap(child: int) -> int | None:
    """Reap all exited processes. Returns the child's wait status once it has exited, else None."""
    status = None
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == child:
            status = ended
