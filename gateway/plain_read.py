"""Routes for the busiest reads: documented like any other, and run without what the framework does in between."""

from __future__ import annotations

import re
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request

from chassis.errors import invalid
from chassis.http import Receive, Scope, Send
from gateway.models import IDENTIFIER

_IDENTIFIER = re.compile(IDENTIFIER)


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
