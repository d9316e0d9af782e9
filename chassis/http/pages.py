"""A few pages that can only be read, such as health and metrics, for processes that serve nothing else over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from chassis.errors import Kind, ShopError
from chassis.http.middleware import Application, Identified, Receive, Scope, Send, send_problem

# Status, media type, body.
Page = tuple[int, str, bytes]
# Makes a page, from what the reader accepts (RFC 9110, "Accept").
Make = Callable[[str], Awaitable[Page]]

_METHODS = ("GET", "HEAD")


def pages(pages_by_path: Mapping[str, Make]) -> Application:
    """ASGI: GET and HEAD of each path; 405 for other methods, 404 for other paths, as problems."""

    async def application(scope: Scope, _: Receive, send: Send) -> None:
        page = pages_by_path.get(scope["path"])
        if page is None:
            found = " and ".join(pages_by_path)
            await send_problem(send, ShopError("NOT_FOUND", f"no such resource; use {found}", Kind.NOT_FOUND))
        elif scope["method"] not in _METHODS:
            error = ShopError("METHOD_NOT_ALLOWED", "use GET or HEAD", Kind.INVALID)
            await send_problem(send, error, headers={"allow": ", ".join(_METHODS)})
        else:
            status, media_type, body = await page(_accept(scope))
            headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return Identified(application)


def _accept(scope: Scope) -> str:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"]
    return ", ".join(values)
