"""Every way in which Redis says "not now": the gateway counts by itself meanwhile, and in Redis again afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.rate_limit_storage import rate_limit_storage
from tests.gateway.conftest import StartShop
from tests.waiting import eventually

HANGS_UP, SAYS_NOTHING, NO_REDIS = "hangs up", "says nothing", "HTTP/1.1 400 Bad Request"
# Redis' own words; what it does where it has none.
NOT_NOW = {
    "loading": "LOADING Redis is loading the dataset in memory",
    "demoted to a replica": "READONLY You can't write against a read only replica.",
    "its primary is down": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "out of memory": "OOM command not allowed when used memory > 'maxmemory'.",
    "busy with a script": "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "its disk is full": "MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk.",
    "too few replicas": "NOREPLICAS Not enough good replicas to write.",
    "failing over": "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "too many clients": "ERR max number of clients reached",
    "its password is being changed": "NOAUTH Authentication required.",
    "its password was changed": "WRONGPASS invalid username-password pair or user is disabled.",
    "the account may not": "NOPERM User shop has no permissions to run the 'evalsha' command",
    "its cluster is down": "CLUSTERDOWN The cluster is down",
    "a slot is moving": "TRYAGAIN Multiple keys request during rehashing of slot",
    "its disk cannot be read": "MISCONF Errors writing to the AOF file: No space left on device",
    "hangs up": HANGS_UP,
    "says nothing": SAYS_NOTHING,
    "speaks another protocol": NO_REDIS,
}
SHARED = 1_000_000


class FakeRedis:
    """Fake: counts to `SHARED` in every window, or answers with an error while it is in `trouble`.

    `demoted`: the connections to a server that has become a replica. A new one leads to the server that took over.
    """

    def __init__(self, trouble: str) -> None:
        self.trouble = trouble
        self.connections: set[asyncio.StreamWriter] = set()
        self.demoted: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        try:
            while header := await reader.readline():
                command = [await self._argument(reader) for _ in range(int(header[1:]))]
                trouble = NOT_NOW["demoted to a replica"] if writer in self.demoted else self.trouble
                if trouble == HANGS_UP:
                    return
                if trouble == SAYS_NOTHING:
                    continue
                writer.write(self._answer(command[0].upper(), trouble))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _argument(self, reader: asyncio.StreamReader) -> bytes:
        length = int((await reader.readline())[1:])
        return (await reader.readexactly(length + 2))[:-2]

    def _answer(self, command: bytes, trouble: str) -> bytes:
        if trouble == NO_REDIS:
            return trouble.encode() + b"\r\n\r\n"
        if command != b"EVALSHA":  # the handshake
            return b"+OK\r\n"
        return f"-{trouble}\r\n".encode() if trouble else b"*2\r\n:%d\r\n:60000\r\n" % SHARED


@asynccontextmanager
async def fake_redis(trouble: str) -> AsyncIterator[tuple[FakeRedis, str]]:
    fake = FakeRedis(trouble)
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    async with server:
        yield fake, f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("kind", sorted(NOT_NOW))
async def test_counts_by_itself_until_redis_is_back(kind: str) -> None:
    """No fault of Redis is the client's: hits are counted in memory, and in Redis once it takes them again."""
    async with fake_redis(NOT_NOW[kind]) as (fake, url), rate_limit_storage(url) as counts:
        assert [(await counts.hit("key", 60))[0] for _ in range(5)] == [1, 2, 3, 4, 5]
        fake.trouble = ""

        async def shared() -> bool:
            return (await counts.hit("key", 60))[0] == SHARED

        await eventually(shared)


async def test_server_that_is_demoted_is_left() -> None:
    """A server that was demoted under open connections is given up: its name may lead to another one now."""
    async with fake_redis("") as (fake, url), rate_limit_storage(url) as counts:
        assert (await counts.hit("key", 60))[0] == SHARED
        fake.demoted |= fake.connections

        async def shared() -> bool:
            return (await counts.hit("key", 60))[0] == SHARED

        assert (await counts.hit("key", 60))[0] == 1
        await eventually(shared)


@pytest.mark.parametrize("kind", sorted(NOT_NOW))
async def test_clients_do_not_notice(start_shop: StartShop, kind: str) -> None:
    """Requests are answered, and limited, while Redis answers nothing but errors."""
    async with (
        fake_redis(NOT_NOW[kind]) as (_, url),
        start_shop(rate_limit_url=url, client_rate_limit="3/minute") as shop,
    ):
        answers = [(await shop.client.get("/v1/products/42")).status_code for _ in range(4)]
    assert answers == [200, 200, 200, 429]
