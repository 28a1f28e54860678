"""The first process of a container, as an init: the worker runs below it, it reaps and passes signals on.

The kernel gives process 1 duties that a worker must not have: a signal without a handler is dropped, not obeyed, and
every orphan becomes its child, to be reaped by nobody else. Reaping in the worker itself would take the end of its
own children from whoever waits for them. So process 1 forks before anything is imported and stays this small.

It handles no signal, it blocks all and takes them one by one: what is blocked is never dropped, not even between the
interpreter's start and this module if the image's entry point blocks SIGTERM before both (`env --block-signal`).
"""

from __future__ import annotations

import os
import signal
import sys

FIRST = 1
STOPPING = (signal.SIGTERM, signal.SIGINT)
# Sent by the processor, to whoever made the fault: blocking them would only hide a crash.
FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS}


def begin(*, serves: bool) -> None:
    """Become an init where this is process 1, and return in the process that works; stops are obeyed from here on.

    What `serves` ends with status 0 when it is told to stop before it has begun; it sets handlers of its own later.
    """
    if os.getpid() == FIRST:
        fork_below()
    if serves:
        for number in STOPPING:
            signal.signal(number, leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def leave(number: int, _: object) -> None:
    """End at once: nothing was taken yet, and the engine's guard ends what was started."""
    os.write(2, f"stopped by {signal.Signals(number).name} before the start was through\n".encode())
    os._exit(0)


def fork_below() -> None:
    """Go on in a child, in a process group of its own; this process ends with it, with its status."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - FAULTS)
    child = os.fork()
    if child:
        os._exit(serve(child))
    os.setpgid(0, 0)  # a Ctrl-C at the container's terminal comes once, not once from it and once passed on
    take_terminal()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def take_terminal() -> None:
    """Make this process's group the one that the container's terminal talks to, where it has one."""
    try:
        if sys.stdin is not None and sys.stdin.isatty():
            os.tcsetpgrp(sys.stdin.fileno(), os.getpid())
    except OSError:  # a terminal that belongs to others
        return


def serve(child: int) -> int:
    """Reap and pass signals on until the child ends; its exit status as a shell tells it."""
    while True:
        number = signal.sigwait(signal.valid_signals() - FAULTS)
        if number != signal.SIGCHLD:
            os.kill(child, number)
        elif (status := reap(child)) is not None:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def reap(child: int) -> int | None:
    """Collect all the dead; the child's status once it is among them."""
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
