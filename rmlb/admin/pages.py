"""The dashboard's own files: `GET /` and `/static/`. Nothing of them comes from elsewhere.

The policy below lets the page load scripts, styles and data from this balancer only, and lets
nobody frame it.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from aiohttp import web

_TYPES: Final = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def add_to(app: web.Application) -> None:
    """Read the files once, and serve them from memory."""
    for file in files("rmlb.admin").joinpath("static").iterdir():
        kind = _TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            path = "/" if file.name == "index.html" else f"/static/{file.name}"
            app.router.add_get(path, _Page(file.read_bytes(), kind).serve)


class _Page:
    def __init__(self, body: bytes, kind: str) -> None:
        self._body = body
        self._kind = kind

    async def serve(self, request: web.Request) -> web.Response:
        headers = {
            "Content-Security-Policy": POLICY,
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        return web.Response(
            body=self._body, content_type=self._kind, charset="utf-8", headers=headers
        )
