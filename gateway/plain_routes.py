"""Routes for the busiest requests: documented like any other, and run without what the framework does in between."""

from __future__ import annotations

import re
from typing import Any

from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.requests import Request
from starlette.types import ASGIApp

from chassis.errors import invalid
from chassis.http import Message, Receive, Scope, Send
from chassis.identity import check, current_principal, signed_in
from gateway.models import IDENTIFIER

_IDENTIFIER = re.compile(IDENTIFIER)
_KEY = re.compile(rb"[\x21-\x7e]{1,255}")


class PlainRead(APIRoute):
    """Calls `endpoint(request, id, if_none_match)` itself.

    Finding three arguments by way of dependencies costs 65 us, as much as all policies of the edge together. So the
    endpoint must have these three parameters, whatever their names, and answer with a response.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.app = self._read

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        ((name, value),) = scope["path_params"].items()
        if not _IDENTIFIER.fullmatch(value):
            raise invalid("the request cannot be accepted", **{name: f"String should match pattern '{IDENTIFIER}'"})
        if_none_match = None
        for header, content in scope["headers"]:
            if header == b"if-none-match":
                if_none_match = content.decode("latin-1")
        response = await self.endpoint(Request(scope, receive, send), value, if_none_match)
        await response(scope, receive, send)


class PlainWrite(APIRoute):
    """Calls `endpoint(request, body, idempotency_key)` itself, for callers who are signed in.

    Worth 150 us of an order. Only what is right goes this way: whatever looks unusual goes the framework's, body and
    all, which finds out what is wrong with it and says so.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        if self.body_field is None:
            raise TypeError(f"{self.path} has no body")
        self._model: Any = self.body_field.field_info.annotation
        self._framework: ASGIApp = self.app
        self.app = self._write

    async def _write(self, scope: Scope, receive: Receive, send: Send) -> None:
        check(signed_in, current_principal())
        request = Request(scope, receive, send)
        content = await request.body()
        content_type, key = b"", None
        for header, value in scope["headers"]:
            if header == b"content-type":
                content_type = value
            elif header == b"idempotency-key":
                key = value
        if content_type == b"application/json" and (key is None or _KEY.fullmatch(key)):
            try:
                body = self._model.model_validate_json(content)
            except ValidationError:
                body = None
            if body is not None:
                response = await self.endpoint(request, body, key and key.decode())
                await response(scope, receive, send)
                return
        await self._framework(scope, _again(content, receive), send)


def _again(content: bytes, receive: Receive) -> Receive:
    """A request's body for who has not seen it yet, and then whatever comes after it."""
    body: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def receiving() -> Message:
        return body.pop() if body else await receive()

    return receiving
