"""Roles beside the notifier in its benchmark, each in a process of its own."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import uvloop

from bench.roles import commands, say, say_until_closed
from chassis.auth.identity import TokenVerifier, anyone
from chassis.broker import connect
from chassis.broker.port import Event, Topology
from chassis.grpc.server import serve
from chassis.observability.tracing import Telemetry
from chassis.settings import TOPOLOGY
from protos.shop.users.v1 import users_pb2, users_pb2_grpc
from services.users.tokens import JwtSigner, new_signing_key

# Frames of all events are of one size but for the position's digits.
_TIME = datetime(2026, 1, 5, 9, 0, 0, 123456, tzinfo=UTC)
_DATA = b'{"order_id":"0190b2a4-1c5e-7d3a-9f10-2b6c8d4e5f60","user_id":"123","total":"129.90","currency":"EUR"}'


def an_event(number: int, subject: str = "0190b2a4-1c5e-7d3a-9f10-2b6c8d4e5f60") -> Event:
    """An event as orders would publish it for customer 123."""
    return Event(f"event-{number:08}", "order.paid", "/orders", subject, _TIME, _DATA, {"userid": "123"})


async def floor(frame: bytes) -> None:
    """Writes one pre-built frame to every transport, as often as a line on stdin commands; nothing can do less."""
    transports: set[asyncio.Transport] = set()

    class Bare(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transports.add(cast("asyncio.Transport", transport))

    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", 0, backlog=1024)
    say(server.sockets[0].getsockname()[1])
    async for (count,) in commands():
        say(time.monotonic())
        for _ in range(int(count)):
            for transport in transports:
                transport.write(frame)
            # Let the sockets take it: what is not sent one by one would be another exercise.
            await asyncio.sleep(0)


async def publisher(broker_url: str) -> None:
    """Publishes as many events as a line on stdin commands, and prints when it began."""
    broker = await connect(broker_url, Topology.load(TOPOLOGY))
    number = 0
    say("ready")
    async for (count,) in commands():
        events = [an_event(number + each) for each in range(int(count))]
        number += len(events)
        began = time.monotonic()
        await broker.publish(events)
        say(began)
    await broker.close()


async def identity() -> None:
    """Stands in for users: has the key of the one token that it prints."""
    signer = JwtSigner([new_signing_key()], lifetime=3_600)

    class Users(users_pb2_grpc.UserServiceServicer):
        async def GetJwks(self, _request: Any, _context: Any) -> users_pb2.GetJwksResponse:  # noqa: N802
            return users_pb2.GetJwksResponse(jwks_json=signer.jwks())

    async def jwks() -> str:
        return signer.jwks()

    async with serve(
        (users_pb2_grpc.add_UserServiceServicer_to_server, Users()),  # type: ignore[abstract] # gRPC answers UNIMPLEMENTED
        policy={"GetJwks": anyone},
        telemetry=Telemetry("bench"),
        host="127.0.0.1",
        port=0,
        verifier=TokenVerifier(jwks),
        reflection=False,
    ) as port:
        await say_until_closed(f"{port} {signer.sign('123', 'customer')[0]}")


async def listener(port: int, token: str) -> None:
    """Reads the event stream of a user's own events, and prints their number so far for each line on stdin."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET /notifications/stream?topics=%23 HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n"
    writer.write(request.encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    events = 0

    async def count() -> None:
        nonlocal events
        async for line in reader:
            events += line.startswith(b"data: ")
        raise RuntimeError(f"the event stream ended after {events} events")

    say("listening")
    counting = asyncio.create_task(count())
    async for _ in commands():
        if counting.done():
            counting.result()
        say(events)
    writer.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["floor", path]:
            uvloop.run(floor(Path(path).read_bytes()))
        case ["publisher", url]:
            uvloop.run(publisher(url))
        case ["identity"]:
            uvloop.run(identity())
        case ["listener", port, token]:
            uvloop.run(listener(int(port), token))
        case _:
            sys.exit("floor FILE | publisher BROKER_URL | identity | listener PORT TOKEN")
