"""Routes whose body is JSON."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from chassis import json_text


class _JsonRequest(Request):
    async def json(self) -> Any:
        return json_text.parsed(await self.body())


class JsonRoute(APIRoute):
    """A route that reads its body as UTF-8, and as nothing else."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def read(request: Request) -> Response:
            return await answer(_JsonRequest(request.scope, request.receive))

        return read
