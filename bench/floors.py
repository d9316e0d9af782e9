"""Floors: the cheapest possible, measured in the same run as what is compared with it."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import grpc
import grpc.aio

from bench.roles import say_until_closed, started_role

_SERVICE = "bench.Echo"
_METHOD = "Say"
_PAYLOAD = b"x" * 200


def import_seconds() -> float:
    """Seconds that one interpreter takes to import what a service is built on."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import fastapi, grpc, sqlalchemy"], check=True)
    return time.perf_counter() - began


def commit_ms(folder: Path, rounds: int) -> list[float]:
    """An insert and its fsynced commit in SQLite (WAL), each in milliseconds."""
    connection = sqlite3.connect(folder / "floor.sqlite", isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS row (content BLOB)")
        taken = []
        for _ in range(rounds):
            began = time.perf_counter()
            connection.execute("INSERT INTO row VALUES (?)", (_PAYLOAD,))
            taken.append((time.perf_counter() - began) * 1000)
        return taken
    finally:
        connection.close()


def hop_ms(rounds: int) -> list[float]:
    """A unary call by grpc.aio to another process that echoes it, each in milliseconds."""
    return asyncio.run(_hops(rounds))


async def _hops(rounds: int) -> list[float]:
    async with started_role("bench.floors") as (_, port), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        say: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{_SERVICE}/{_METHOD}")
        await say(_PAYLOAD)  # the first one connects
        taken = []
        for _ in range(rounds):
            began = time.perf_counter()
            await say(_PAYLOAD)
            taken.append((time.perf_counter() - began) * 1000)
        return taken


async def _serve_echo() -> None:
    async def say(request: bytes, _: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return request

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {_METHOD: grpc.unary_unary_rpc_method_handler(say)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await say_until_closed(port)


if __name__ == "__main__":
    asyncio.run(_serve_echo())
