"""Security response headers (OWASP REST security cheat sheet)."""

from __future__ import annotations

from chassis.http.middleware import Application, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

_ALWAYS: tuple[Header, ...] = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
# Nothing of an API's answer may run or be framed. A page declares what it needs; framed it may not be either.
_POLICY: Header = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_PAGES_POLICY: Header = (b"content-security-policy", b"frame-ancestors 'none'")
# Two years, as https://hstspreload.org requires.
_HTTPS_ONLY: Header = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")


class SecurityHeaders:
    """Pure ASGI: adds them to every answer that does not bring its own."""

    def __init__(self, app: Application, *, https: bool) -> None:
        self._app = app
        self._added = (*_ALWAYS, _HTTPS_ONLY) if https else _ALWAYS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._with_ours(message.get("headers", ()))
            await send(message)

        await self._app(scope, receive, adding)

    def _with_ours(self, headers: list[Header]) -> list[Header]:
        policy: Header | None = _POLICY
        for name, value in headers:
            if name == b"content-security-policy":
                policy = None
            elif name == b"content-type" and policy and value.startswith(b"text/html"):
                policy = _PAGES_POLICY
        present = {name for name, _ in headers}
        added = [header for header in self._added if header[0] not in present]
        return [*headers, *added, policy] if policy else [*headers, *added]
