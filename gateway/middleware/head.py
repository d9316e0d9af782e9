"""HEAD, answered as GET."""

from __future__ import annotations

from chassis.http.middleware import Application, Receive, Scope, Send


class HeadAsGet:
    """Pure ASGI: answers HEAD as GET, whose body the server leaves out; not under `own`, whose HEAD has a route."""

    def __init__(self, app: Application, *, own: str) -> None:
        self._app, self._own = app, own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "HEAD" or scope["path"].startswith(self._own):
            await self._app(scope, receive, send)
            return
        # A copy: the server reads in its own scope that no body is wanted.
        inner = {**scope, "method": "GET"}
        await self._app(inner, receive, send)
        scope["route"] = inner.get("route")
