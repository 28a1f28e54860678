"""How the worker hands its listening socket to the engine's server: commands of one byte on a Unix socket.

- `a` accept on the descriptor that comes along; the answer `a` follows once the server accepts
- `s` accept no more, and close each connection after its running request; the answers are `s` at once and `f` when no
  request is running
- `q` is a request running? The answer is `r` (running) or `i` (idle)

So exactly one process accepts at any time. Standard library only: the worker's light start imports it.
"""

from __future__ import annotations

HANDOVER_FLAG = "--hand-over-at"
ACCEPT, STOP, FINISHED = b"a", b"s", b"f"
QUERY, RUNNING, IDLE = b"q", b"r", b"i"


def take_path(argv: list[str]) -> str | None:
    """The path of the hand-over's socket, removed from the command line; None where the command line names none."""
    if argv[1:2] != [HANDOVER_FLAG]:
        return None
    path = argv[2]
    del argv[1:3]
    return path
