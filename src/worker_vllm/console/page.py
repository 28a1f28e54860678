"""The page and its files: HTML, styles, scripts, from the package."""

from __future__ import annotations

import html
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).with_name("static")


class PageFiles(StaticFiles):
    """The files of `static/`; a browser asks each time whether one has changed."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or 304."""
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response


class IndexPage:
    """The page at `/`, with the token that its requests must carry."""

    def __init__(self, token: str) -> None:
        text = (STATIC / "index.html").read_text(encoding="utf-8")
        self._html = text.replace("{{token}}", html.escape(token, quote=True))

    async def serve(self, request: Request) -> Response:
        """Answer with the page."""
        return HTMLResponse(self._html, headers={"cache-control": "no-store"})
