"""The page for people at `/` and `/ui`: static files of this package, the same for every caller.

What the page shows it asks for at `/tasks`, as its reader. Its policy lets it run its own scripts and speak to
its own origin only.
"""

from __future__ import annotations

import hashlib
from html import escape
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

__all__ = ["page_routes"]

FILES = {
    "page.js": "text/javascript",
    "task.js": "text/javascript",
    "api.js": "text/javascript",
    "dom.js": "text/javascript",
    "page.css": "text/css",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_routes() -> list[Route]:
    """The page at every address of it, and its files."""
    folder = files(__package__) / "page"
    contents = {name: (folder / name).read_bytes() for name in FILES}
    html = (folder / "index.html").read_text("utf-8")

    async def page(request: Request) -> Response:
        root = escape(request.scope.get("root_path", "").rstrip("/"))
        return _answer(request, html.replace("{root}", root).encode(), "text/html")

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            return Response(status_code=404)
        return _answer(request, contents[name], FILES[name])

    return [
        Route("/", page),
        Route("/ui", page),
        Route("/ui/tasks/{operation_id}", page),
        Route("/ui/{name}", file),
    ]


def _answer(request: Request, content: bytes, media_type: str) -> Response:
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {**HEADERS, "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=media_type)
