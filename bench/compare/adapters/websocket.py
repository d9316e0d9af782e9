"""Request and reply over a WebSocket, by websockets: JSON messages matched by an id of the client's."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio import client, server
from websockets.exceptions import ConnectionClosed

from bench.compare import tls
from bench.compare.adapters import rows
from bench.compare.adapters.port import Call, Link, Rows, Selection


async def _answer(socket: server.ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for text in socket:
            requested = json.loads(text)
            await socket.send(json.dumps({"re": requested["id"], "product": rows.brief(requested["product"])}))


@asynccontextmanager
async def serve(options: Sequence[str]) -> AsyncIterator[int]:
    async with server.serve(_answer, "127.0.0.1", 0, compression=None, ssl=tls.serving(options)) as serving:
        yield next(iter(serving.sockets)).getsockname()[1]


async def _receive(socket: client.ClientConnection, waiting: dict[int, asyncio.Future[Any]]) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for text in socket:
            answer = json.loads(text)
            waiting.pop(answer["re"]).set_result(answer["product"])
    for each in waiting.values():
        each.set_exception(ConnectionError("the connection has ended"))
        each.exception()  # taken here: a call that fails in sending takes no answer


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    """Many calls may be on their way at once. A connection that ends fails them all."""
    waiting, numbers = dict[int, asyncio.Future[Any]](), itertools.count(1)
    url, plain = link.url.replace("http", "ws", 1), dict[str, Any](compression=None, proxy=None)
    async with client.connect(url, additional_headers=link.headers, ssl=link.trust, **plain) as socket:
        receiving = asyncio.create_task(_receive(socket, waiting))

        async def call(selection: Selection) -> Rows:
            requested = [(next(numbers), product_id) for product_id in selection.ids]
            answers = [waiting.setdefault(number, asyncio.Future()) for number, _ in requested]
            for number, product_id in requested:
                await socket.send(json.dumps({"id": number, "product": product_id}))
            return list(await asyncio.gather(*answers))

        yield call
        receiving.cancel()
