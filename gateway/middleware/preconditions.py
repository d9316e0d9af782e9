"""`If-Match` on a read, and bodies in a coding that is not taken: refused before anything else is made of them."""

from __future__ import annotations

from chassis.errors import Kind, ShopError
from chassis.http.header_fields import elements
from chassis.http.middleware import Application, Message, Receive, Scope, Send
from gateway.errors import answer
from gateway.http.etags import strongly_matches

# 416: judged before the range is (section 13.2.2).
_REPRESENTED = frozenset({200, 206, 304, 416})


class IfMatch:
    """Pure ASGI: a GET whose `If-Match` does not name what would be answered is a 412 (RFC 9110, section 13.1.1).

    It comes before `If-None-Match` and `Range` (section 13.2.2). An answer without an entity tag is left as it is.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tags = [value.decode("latin-1") for name, value in scope["headers"] if name == b"if-match"]
        if scope["method"] not in ("GET", "HEAD") or not tags:
            await self._app(scope, receive, send)
            return
        if_match = ", ".join(tags)
        refused = False

        async def judging(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] in _REPRESENTED:
                etag = dict(message.get("headers", ())).get(b"etag", b"").decode("latin-1")
                if etag and not strongly_matches(if_match, etag):
                    refused = True
                    error = ShopError("VERSION_MISMATCH", f"If-Match must be {etag}", Kind.PRECONDITION)
                    await answer(error)(scope, receive, send)
            if not refused:
                await send(message)

        await self._app(scope, receive, judging)


class PlainBodies:
    """Pure ASGI: a body with a `Content-Encoding` is a 415 that lists what is taken (RFC 9110, section 12.5.3).

    To store or read it as it comes would lose what it is.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        fields = [value.decode("latin-1") for name, value in scope["headers"] if name == b"content-encoding"]
        codings = [each for each in elements(", ".join(fields)) if each.lower() != "identity"]
        if codings:
            message = f"send the body without Content-Encoding, not as {', '.join(codings)[:64]}"
            app = answer(ShopError("UNSUPPORTED_MEDIA_TYPE", message, Kind.INVALID, accept_encoding="identity"))
        await app(scope, receive, send)
