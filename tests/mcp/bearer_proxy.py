"""A reverse proxy that adds a token: for clients of the MCP server that can be given none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from tests.shop import free_ports

_OF_THE_CONNECTION = {"connection", "content-length", "transfer-encoding"}


@asynccontextmanager
async def bearer_proxy(url: str, token: str) -> AsyncIterator[str]:
    """The URL of a server that passes requests on to `url` (without a path), with this token; all else as it came."""
    async with aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as session:

        async def passed_on(request: web.Request) -> web.StreamResponse:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _OF_THE_CONNECTION}
            headers["Authorization"] = f"Bearer {token}"
            async with session.request(
                request.method, url + request.path_qs, headers=headers, data=await request.read()
            ) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OF_THE_CONNECTION}
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", passed_on)
        runner = web.AppRunner(app)
        await runner.setup()
        [port] = free_ports(1)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await runner.cleanup()
