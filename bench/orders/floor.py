"""The floor of an order: each of its hops done bare, in processor time of both ends.

`python -m bench.orders.floor` is the other end: it answers gRPC, HTTP and SMTP, and does nothing else.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import aio_pika
import aiohttp
import aiosmtplib
import asyncpg
import grpc.aio
import uvloop
from aiohttp import web
from aiosmtpd.smtp import SMTP

from bench.orders.engines import Engine
from bench.roles import cpu_seconds, say_until_closed, started_role

_ROUNDS = 400
_CONCURRENCY = 8
_PAYLOAD = b"x" * 400
_METHOD = "/bench.Echo/Say"
QUEUE = "floor"
_SOAP = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
    + "".join(f"<Line><ArtNo>{number:06d}</ArtNo><Qty>1</Qty></Line>" for number in range(8))
    + "</s:Body></s:Envelope>"
).encode()

Do = Callable[[], Awaitable[object]]


async def floor_ms(engine: Engine, folder: Path) -> tuple[dict[str, float], bool]:
    """Milliseconds of processor time of one exchange of each kind, at both ends and on the servers in between.

    And whether PostgreSQL's part is in all of them.
    """
    async with AsyncExitStack() as stack:
        other_end, line = await stack.enter_async_context(started_role("bench.orders.floor"))
        kinds = await _bare(stack, engine, json.loads(line), folder)
        found = {name: await milliseconds(do, other_end.pid, engine) for name, do in kinds.items()}
        return {name: ms for name, (ms, _) in found.items()}, all(counted for _, counted in found.values())


async def milliseconds(do: Do, other_end: int, engine: Engine) -> tuple[float, bool]:
    """Milliseconds of processor time of doing something once, at both ends and in our sessions at PostgreSQL.

    And whether these were counted, where there is a PostgreSQL.
    A look at the sessions costs this process more than some exchanges do: both are outside of what is counted.
    """
    await do()  # the first one connects
    servers = await engine.spent(QUEUE)
    spent = _spent(other_end)
    await asyncio.gather(*(_repeated(do, _ROUNDS // _CONCURRENCY) for _ in range(_CONCURRENCY)))
    spent = _spent(other_end) - spent
    # The broker is left out, as others may use it.
    sessions = (await engine.spent(QUEUE)).since(servers).get("postgresql")
    return (spent + (sessions or 0.0)) * 1000 / _ROUNDS, sessions is not None


async def _repeated(do: Do, times: int) -> None:
    for _ in range(times):
        await do()


def _spent(other_end: int) -> float:
    return time.process_time() + cpu_seconds(other_end)


async def _bare(stack: AsyncExitStack, engine: Engine, ends: dict[str, int], folder: Path) -> dict[str, Do]:
    """One exchange of each kind with nothing around it."""
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{ends['grpc']}"))
    say: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)
    http = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{ends['http']}"))
    smtp = await stack.enter_async_context(aiosmtplib.SMTP(hostname="127.0.0.1", port=ends["smtp"]))
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "shop@shop.test", "demo@shop.test", "Your order"
    mail.set_content("Hello,\n\nthank you for your order.\n")
    text = mail.as_bytes()

    async def exchange() -> None:
        async with http.post("/", data=_PAYLOAD) as response:
            await response.read()

    async def soap() -> None:
        async with http.post("/soap", data=_SOAP) as response:
            ET.fromstring(await response.read())  # noqa: S314 - our own

    commit, publish, consume = await _durable(stack, engine, folder)
    return {
        "gRPC call": lambda: say(_PAYLOAD),
        "HTTP exchange": exchange,
        "SOAP exchange": soap,
        "SMTP exchange": lambda: smtp.sendmail("shop@shop.test", ["demo@shop.test"], text),
        "commit": commit,
        "publish": publish,
        "consume": consume,
    }


async def _durable(stack: AsyncExitStack, engine: Engine, folder: Path) -> tuple[Do, Do, Do]:
    """A commit, a publish and a consume, each durable when it returns."""
    if not engine.postgres:
        connection = sqlite3.connect(folder / "floor.sqlite", isolation_level=None)
        stack.callback(connection.close)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, content BLOB)")

        async def insert() -> None:
            connection.execute("INSERT INTO row (content) VALUES (?)", (_PAYLOAD,))

        async def delete() -> None:
            connection.execute("DELETE FROM row WHERE id = (SELECT min(id) FROM row)")

        return insert, insert, delete
    name = f"{engine.prefix}{QUEUE}"
    server = await asyncpg.connect(f"{engine.postgres}/postgres")
    await server.execute(f'CREATE DATABASE "{name}"')
    await server.close()
    pool = await stack.enter_async_context(asyncpg.create_pool(f"{engine.postgres}/{name}", min_size=8, max_size=8))
    await pool.execute("CREATE TABLE row (id BIGSERIAL PRIMARY KEY, content BYTEA)")
    broker = await stack.enter_async_context(await aio_pika.connect(engine.rabbitmq))
    channel = await broker.channel()
    stack.push_async_callback(channel.close)
    queue = await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})
    stack.push_async_callback(channel.queue_delete, name)
    arrived: asyncio.Queue[aio_pika.abc.AbstractIncomingMessage] = asyncio.Queue()
    stack.push_async_callback(
        queue.cancel, await queue.consume(arrived.put)
    )  # what arriving costs is in the publishing: they are looked at together
    message = aio_pika.Message(_PAYLOAD, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)

    async def publish() -> None:
        await channel.default_exchange.publish(message, name)

    async def consume() -> None:
        await (await arrived.get()).ack()

    return lambda: pool.execute("INSERT INTO row (content) VALUES ($1)", _PAYLOAD), publish, consume


class _Postbox:
    async def handle_DATA(self, *_: Any) -> str:  # noqa: N802 - aiosmtpd's name
        return "250 OK"


async def _serve() -> None:
    async def say(request: bytes, _: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return request

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def soap(request: web.Request) -> web.Response:
        return web.Response(body=ET.tostring(ET.fromstring(await request.read())))  # noqa: S314

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Say": grpc.unary_unary_rpc_method_handler(say)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    ports = {"grpc": server.add_insecure_port("127.0.0.1:0")}
    await server.start()
    app = web.Application()
    app.add_routes([web.post("/", echo), web.post("/soap", soap)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ports["http"] = runner.addresses[0][1]
    loop = asyncio.get_running_loop()
    postbox = await loop.create_server(lambda: SMTP(_Postbox(), loop=loop), "127.0.0.1", 0)
    ports["smtp"] = postbox.sockets[0].getsockname()[1]
    await say_until_closed(json.dumps(ports))


if __name__ == "__main__":
    uvloop.run(_serve())
