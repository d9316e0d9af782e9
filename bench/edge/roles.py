"""Processes of the edge's benchmark: the floors, and the shop's own with the settings of production."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import grpc.aio
import uvloop
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from chassis.http.server import serve_http
from chassis.observability import logs
from chassis.process import tune_garbage_collection

_SERVICE = "bench.Echo"
_SAY = f"/{_SERVICE}/Say"
# As long as a product in JSON.
_CONTENT = json.dumps(
    {
        "id": "42",
        "name": "Mechanical Keyboard",
        "description": "Eighty-seven keys, hot-swappable switches, a cable that comes off.",
        "category": "hardware",
        "price": "89.00",
        "currency": "EUR",
        "image_url": "/v1/files/product-42",
        "updated_at": "2026-01-05T09:00:00Z",
    }
).encode()


@asynccontextmanager
async def bare_gateway(settings: dict[str, Any]) -> AsyncIterator[int]:
    """Plain FastAPI: a route that calls the echo, one that calls the chain, one that returns bytes."""
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False})
    async with (
        grpc.aio.insecure_channel(settings["echo"]) as echo,
        grpc.aio.insecure_channel(settings["chain"]) as chain,
    ):
        say: Any = echo.unary_unary(_SAY)
        pass_on: Any = chain.unary_unary(_SAY)

        @app.get("/echo/{product_id}")
        async def echoed(product_id: str) -> Response:  # noqa: ARG001  # a parameter, as a product has one
            return Response(await say(_CONTENT), media_type="application/json")

        @app.get("/bytes/{product_id}")
        async def ready(product_id: str) -> Response:  # noqa: ARG001
            return Response(_CONTENT, media_type="application/json")

        @app.post("/chain")
        async def chained(request: Request) -> Response:
            return Response(await pass_on(await request.body()), media_type="application/json")

        async with serve_http(app, host="127.0.0.1", port=0) as port:
            yield port


@asynccontextmanager
async def echo(settings: dict[str, Any]) -> AsyncIterator[int]:
    """Plain grpc.aio: answers with what it was sent, once the `next` one has, where there is one."""
    channel = grpc.aio.insecure_channel(settings["next"]) if "next" in settings else None
    following: Any = channel.unary_unary(_SAY) if channel else None

    async def say(request: bytes, _: Any) -> bytes:
        return request if following is None else await following(request)

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Say": grpc.unary_unary_rpc_method_handler(say)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)
        if channel:
            await channel.close()


@asynccontextmanager
async def service(settings: dict[str, Any]) -> AsyncIterator[int]:
    """One of the shop's own processes: `module` is its bootstrap, the rest its settings."""
    bootstrap = import_module(settings.pop("module"))
    async with bootstrap.run(bootstrap.Settings(**settings)) as running:
        yield running.port


@asynccontextmanager
async def collector(_: dict[str, Any]) -> AsyncIterator[int]:
    """Takes spans, and forgets them."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async with serve_http(app, host="127.0.0.1", port=0) as port:
        yield port


ROLES = {"bare_gateway": bare_gateway, "echo": echo, "service": service, "collector": collector}


async def play(role: str, settings: dict[str, Any]) -> None:
    """Serve, print the port, and stop at the end of the input."""
    async with ROLES[role](settings) as port:
        tune_garbage_collection()
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        os.dup2(2, 1)  # the access log goes where the errors go
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    logs.configure(sys.argv[1], log_format="json", level="info")
    uvloop.run(play(sys.argv[1], json.loads(sys.argv[2])))
