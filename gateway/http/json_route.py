"""Routes whose body is JSON."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from chassis import json_text
from gateway.middleware.auth import public


class _JsonRequest(Request):
    async def json(self) -> Any:
        return json_text.parsed(await self.body())


class JsonRoute(APIRoute):
    """A route that reads its body as UTF-8, and as nothing else."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = self._enforcing()

        async def read(request: Request) -> Response:
            return await answer(_JsonRequest(request.scope, request.receive))

        return read

    def _enforcing(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, which calls all that the route declares but PUBLIC: that has nothing to enforce."""
        declared = self.dependant
        self.dependant = replace(
            declared, dependencies=[each for each in declared.dependencies if each.call is not public]
        )
        try:
            return super().get_route_handler()
        finally:
            self.dependant = declared
