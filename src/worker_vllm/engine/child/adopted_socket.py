"""Lets the engine's HTTP server accept on a listening socket that the worker has bound, when the worker asks for it.

The engine's server opens a Unix socket beside its own as soon as it serves. The worker connects to it and sends the
commands of `handover_protocol`.

The hook is on uvicorn's `Server`, which serves vLLM (0.32: `NoSignalServer` in entrypoints/launchers/launcher.py) and
the echo engine: nothing of vLLM is replaced. A server without this hook opens no such socket, and the worker reports
that.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import uvicorn

from worker_vllm.engine.child.handover_protocol import ACCEPT, FINISHED, IDLE, QUERY, RUNNING, STOP

POLL_S = 0.02  # uvicorn has no event for the end of its last request; its own shutdown polls as well
KEPT_GRACE_S = 2.0  # in which a load balancer notices the 503 of its health probe, and uses kept connections no more
CLOSE_HEADER = (b"connection", b"close")


def install(path: str) -> None:
    """Have every uvicorn server that this process starts obey commands at `path`, a name that is free."""
    startup, shutdown = uvicorn.Server.startup, uvicorn.Server.shutdown

    async def start(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        await startup(server, sockets)
        if server.started:
            vars(server)["adoption"] = adoption = AdoptedSocket(server, path)
            adoption.open()

    async def stop(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        adoption: AdoptedSocket | None = vars(server).get("adoption")
        if adoption is not None:
            await adoption.close()
        await shutdown(server, sockets)

    setattr(uvicorn.Server, "startup", start)  # noqa: B010  # mypy refuses the assignment of a method
    setattr(uvicorn.Server, "shutdown", stop)  # noqa: B010


class AdoptedSocket:
    """Obeys the worker's commands for one server; owned by that server from its start to its shutdown."""

    def __init__(self, server: uvicorn.Server, path: str) -> None:
        self._port = AcceptingServer(server)
        self._path = path
        self._obeying: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Listen for the worker."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listening.bind(self._path)
        except OSError as error:  # with --api-server-count, another server of this launch obeys
            listening.close()
            os.write(2, f"this server does not adopt the worker's port: {error}\n".encode())
            return
        listening.listen()
        self._obeying = asyncio.get_running_loop().create_task(self._serve(listening), name="hand-over")

    async def close(self) -> None:
        """Stop obeying and accepting."""
        if self._obeying is not None:
            self._obeying.cancel()
            await asyncio.wait([self._obeying])
        self._port.stop_accepting()

    async def _serve(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                connection, _ = await loop.sock_accept(listening)
                with connection:
                    await self._obey(connection)
        finally:
            listening.close()

    async def _obey(self, connection: socket.socket) -> None:
        """Obey one worker until it closes the connection."""
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            await readable(connection)
            try:
                command, descriptors, _, _ = socket.recv_fds(connection, 1, 4)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError:
                return
            if command == ACCEPT:
                for descriptor in descriptors:
                    await self._port.accept(descriptor)
                await loop.sock_sendall(connection, ACCEPT)
            elif command == STOP:
                self._port.stop_accepting()
                await loop.sock_sendall(connection, STOP)
                await self._port.finish()
                await loop.sock_sendall(connection, FINISHED)
            elif command == QUERY:
                await loop.sock_sendall(connection, RUNNING if self._port.has_requests else IDLE)
            else:
                return


class AcceptingServer:
    """Lets a running uvicorn server accept on further listening sockets, and stop without cutting a request off."""

    def __init__(self, server: uvicorn.Server) -> None:
        self._server = server
        self._accepting: list[asyncio.Server] = []

    @property
    def has_requests(self) -> bool:
        """Whether a request is running."""
        return bool(self._server.server_state.tasks)

    async def accept(self, descriptor: int) -> None:
        """Accept on a listening socket, whose descriptor this object owns from now on."""
        os.set_inheritable(descriptor, False)
        server, config = self._server, self._server.config
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            arguments: dict[str, Any] = {"app_state": server.lifespan.state, "_loop": loop}
            kind: Any = config.http_protocol_class
            made: asyncio.Protocol = kind(config=config, server_state=server.server_state, **arguments)
            return made

        accepting = await loop.create_server(
            protocol, sock=socket.socket(fileno=descriptor), ssl=config.ssl, backlog=config.backlog
        )
        self._accepting.append(accepting)

    def stop_accepting(self) -> None:
        """Accept no more; open connections go on."""
        for accepting in self._accepting:
            accepting.close()
        self._accepting.clear()

    async def finish(self) -> None:
        """Close every connection after the request that runs on it; returns when none runs.

        A connection that is idle now gets one more response within KEPT_GRACE_S, since its client's next request may
        be on the way.
        """
        server, state = self._server, self._server.server_state
        server.config.encoded_headers.append(CLOSE_HEADER)
        state.default_headers = [*state.default_headers, CLOSE_HEADER]
        for connection in list(state.connections):
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_complete:
                connection.shutdown()
        loop = asyncio.get_running_loop()
        grace_end = loop.time() + KEPT_GRACE_S

        def is_over() -> bool:
            if state.tasks or any(unsent(connection) for connection in state.connections):
                return False
            return loop.time() >= grace_end or not any(is_client(connection) for connection in state.connections)

        while not is_over():  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        for connection in list(state.connections):
            if is_client(connection):
                connection.shutdown()


def unsent(connection: object) -> bool:
    """Whether a uvicorn connection holds response bytes that its client has not taken yet."""
    transport = getattr(connection, "transport", None)
    return transport is not None and not transport.is_closing() and transport.get_write_buffer_size() > 0


def is_client(connection: object) -> bool:
    """Whether an open uvicorn connection is a client's, and not the worker's own over the Unix socket."""
    transport = getattr(connection, "transport", None)
    if transport is None or transport.is_closing():
        return False
    return not isinstance(transport.get_extra_info("sockname"), str | bytes)


async def readable(connection: socket.socket) -> None:
    """Return when the socket can be read."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(connection, wake)
    try:
        await ready
    finally:
        loop.remove_reader(connection)
