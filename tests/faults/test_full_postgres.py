"""PostgreSQL without room: writes fail as on a full disk, only while the fault is at work, and nothing stays behind."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from shop.errors import Refused
from shop.fault.faults.full import full
from shop.fault.faults.ground import Fault, Ground
from shop.fault.links.client import Links
from tests.conftest import POSTGRES_URL, own_postgres

pytestmark = pytest.mark.postgres


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A database with one table; its URL, with {service} in it."""
    async with own_postgres() as template:
        server = await asyncpg.connect(f"{POSTGRES_URL}/postgres")
        await server.execute(f'CREATE DATABASE "{template.rpartition("/")[2].replace("{service}", "orders")}"')
        await server.close()
        session = await asyncpg.connect(template.replace("{service}", "orders"))
        await session.execute("CREATE TABLE things (id int)")
        await session.close()
        yield template


def fault_on(url: str, data_dir: Path, service: str = "orders") -> Fault:
    return full(Ground({"SHOP_DATABASE_URL": url}, data_dir, Links(data_dir)), service)


async def written(url: str) -> str:
    """The SQLSTATE of an INSERT's failure, or empty."""
    session = await asyncpg.connect(url.replace("{service}", "orders"))
    try:
        await session.execute("INSERT INTO things VALUES (1)")
    except asyncpg.PostgresError as error:
        return str(error.sqlstate)
    finally:
        await session.close()
    return ""


async def test_writes_fail_while_it_is_at_work(url: str, tmp_path: Path) -> None:
    """With 53100 (disk_full), which the shop answers with 503; then they are accepted, and no trigger is left."""
    fault = fault_on(url, tmp_path)
    assert await written(url) == ""
    assert "1 tables" in await asyncio.to_thread(fault.begin)
    try:
        assert await written(url) == "53100"
    finally:
        assert "can write again" in await asyncio.to_thread(fault.end)
    assert await written(url) == ""
    session = await asyncpg.connect(url.replace("{service}", "orders"))
    assert await session.fetchval("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0
    await session.close()


async def test_a_killed_fault_breaks_nothing(url: str, tmp_path: Path) -> None:
    """Its triggers stay, and do nothing once its session is gone; the next fault takes them away."""
    fault = fault_on(url, tmp_path)
    await asyncio.to_thread(fault.begin)
    server = await asyncpg.connect(f"{POSTGRES_URL}/postgres")
    name = url.rpartition("/")[2].replace("{service}", "orders")
    await server.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", name)
    await server.close()
    assert await written(url) == ""
    assert "the triggers stay, and do nothing any more" in await asyncio.to_thread(fault.end)
    again = fault_on(url, tmp_path)
    await asyncio.to_thread(again.begin)
    assert await written(url) == "53100"
    await asyncio.to_thread(again.end)
    assert await written(url) == ""


async def test_a_database_that_is_not_there_is_refused(url: str, tmp_path: Path) -> None:
    """With the server's words; after that the fault can be tried again, on the right one."""
    away = fault_on(f"{POSTGRES_URL}/no_such_database", tmp_path)
    with pytest.raises(Refused, match=r"database of orders cannot be made full: .*no_such_database"):
        await asyncio.to_thread(away.begin)
    fault = fault_on(url, tmp_path)
    await asyncio.to_thread(fault.begin)
    await asyncio.to_thread(fault.end)


async def test_a_database_is_full_once(url: str, tmp_path: Path) -> None:
    """Of two faults on one database the first to end would take away the other's triggers."""
    fault = fault_on(url, tmp_path)
    await asyncio.to_thread(fault.begin)
    with pytest.raises(Refused, match="database of orders is broken already"):
        await asyncio.to_thread(fault_on(url, tmp_path).begin)
    assert await written(url) == "53100"
    await asyncio.to_thread(fault.end)


async def test_the_password_is_its_own_setting(tmp_path: Path) -> None:
    """As for the services, where the URL shows none (SHOP_DATABASE_PASSWORD)."""
    asked = asyncio.get_running_loop().create_future()

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Stub of a server without TLS that asks for the password in plain text."""
        if await reader.readexactly(8) == b"\0\0\0\x08\x04\xd2\x16\x2f":
            writer.write(b"N")
            await reader.readexactly(8)
        await reader.readuntil(b"\0\0")
        writer.write(b"R\0\0\0\x08\0\0\0\x03")
        kind, *_ = struct.unpack(">cI", await reader.readexactly(5))
        if not asked.done():
            asked.set_result(kind + await reader.readuntil(b"\0"))
        writer.close()

    async with await asyncio.start_server(ask, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        env = {
            "SHOP_DATABASE_URL": f"postgresql://shop@127.0.0.1:{port}/{{service}}",
            "SHOP_DATABASE_PASSWORD": "s3 cret",
        }
        with pytest.raises(Refused):
            await asyncio.to_thread(full(Ground(env, tmp_path, Links(tmp_path)), "orders").begin)
    assert await asked == b"ps3 cret\0"


def test_a_service_is_named(tmp_path: Path) -> None:
    """One database of several is full, not all."""
    with pytest.raises(Refused, match="database full orders"):
        fault_on(POSTGRES_URL, tmp_path, "")
