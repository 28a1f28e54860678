"""The console of one gateway: its routes, and its work between requests."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, Mount, Route, Router

from worker_vllm.console.console_routes import ConsoleRoutes
from worker_vllm.console.page import IndexPage, PageFiles
from worker_vllm.console.same_origin import SameOriginOnly
from worker_vllm.console.state import ConsoleHost, ConsoleState

if TYPE_CHECKING:
    from fastapi.routing import APIRoute


def new_token() -> str:
    """A token that no other page can guess."""
    return secrets.token_urlsafe(24)


class WebConsole:
    """`mounts` are the routes for the gateway's server; `run` keeps the plots' points until `close`."""

    def __init__(self, host: ConsoleHost, *, make_token: Callable[[], str] = new_token) -> None:
        self._host = host
        self._token = make_token()
        self.state = ConsoleState(host)

    @property
    def mounts(self) -> Sequence[BaseRoute]:
        """The page at `/`, its files and its API, all for the page's own origin alone."""
        api = Router(routes=ConsoleRoutes(self.state).routes, redirect_slashes=False)
        index = Router(routes=[Route("/", IndexPage(self._token).serve)], redirect_slashes=False)
        return (
            Mount("/console/api", SameOriginOnly(api, self._token)),
            Mount("/console/static", SameOriginOnly(PageFiles(), self._token)),
            Route("/", SameOriginOnly(index, self._token)),
        )

    def describe(self) -> list[APIRoute]:
        """What the description of the gateway's API says of the console's API; the page is none."""
        from worker_vllm.console.described_routes import described_routes

        return described_routes()

    async def run(self) -> None:
        """Work until `close` is called, then end the endpoints that were started from the form."""
        try:
            await self.state.sample()
        finally:
            if self._host.deployments is not None:
                await self._host.deployments.close()

    def close(self) -> None:
        """End the open feeds and `run`."""
        self.state.closing.set()

    def kill(self) -> None:
        """Kill the workers of every endpoint that was started from the form."""
        if self._host.deployments is not None:
            self._host.deployments.kill()
