"""Every way in which a database says "not now" is STORE_UNAVAILABLE; what is wrong with a statement is not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import BigInteger, Connection, bindparam, text
from sqlalchemy.exc import DBAPIError

from chassis.database.database import Database
from chassis.database.errors import is_temporary
from chassis.errors import StoreUnavailable
from tests.contract.databases import opened
from tests.own_postgres import OwnPostgres, own_postgres_cluster
from tests.waiting import eventually

_TOO_LARGE = bindparam("n", 1 << 70, BigInteger)


@pytest.fixture
async def cluster() -> AsyncIterator[OwnPostgres]:
    """A running PostgreSQL of the test's own."""
    with own_postgres_cluster() as found:
        found.start()
        await found.started()
        yield found


@asynccontextmanager
async def orders(cluster: OwnPostgres) -> AsyncIterator[Database]:
    async with opened("orders", f"{cluster.url}/orders") as db:
        await _serves(db)
        yield db


def _one(connection: Connection) -> object:
    return connection.scalar(text("SELECT 1"))


def _change(connection: Connection) -> object:
    return connection.execute(text("UPDATE orders SET version = version"))


async def _serves(db: Database) -> bool:
    return await db.read(_one) == 1 and await db.write(_one) == 1


async def _in_a_block(db: Database) -> None:
    async with db.transaction() as connection:
        await connection.run_sync(_one)


async def _try_lock(db: Database) -> None:
    async with db.try_lock("relay"):
        pass


async def _refused(db: Database) -> list[str]:
    """Ask in every way there is; the causes of the refusals."""
    causes = []
    for ask in (db.read(_one), db.write(_one), _in_a_block(db), _try_lock(db)):
        with pytest.raises(StoreUnavailable) as refused:
            await ask
        assert refused.value.retry_after
        causes.append(str(refused.value.__cause__))
    return causes


async def _eventually_serves(db: Database) -> None:
    async def serves() -> bool:
        with suppress(StoreUnavailable):
            return await _serves(db)
        return False

    await eventually(serves, within=30)


@pytest.mark.postgres
async def test_a_server_that_stops_and_comes_back(cluster: OwnPostgres) -> None:
    """Stopping, stopped and started again: STORE_UNAVAILABLE all the while, and served at the end of it."""
    async with orders(cluster) as db:
        staying = await asyncpg.connect(f"{cluster.url}/postgres")
        cluster.tell(signal.SIGTERM)  # waits for `staying`, and lets no other connection in

        async def shutting_down() -> bool:
            try:
                await asyncpg.connect(f"{cluster.url}/postgres")
            except asyncpg.CannotConnectNowError:
                return True
            return False

        await eventually(shutting_down)
        async with opened_anew(db):
            assert all("shutting down" in cause for cause in await _refused(db))
        cluster.stop(signal.SIGINT)
        with suppress(Exception):
            await staying.close(timeout=1)
        await _refused(db)
        cluster.start()
        await _eventually_serves(db)


@asynccontextmanager
async def opened_anew(db: Database) -> AsyncIterator[None]:
    """Have the database make new connections."""
    await db._transactions.close()  # type: ignore[attr-defined]
    await db.engine.dispose()
    yield


@pytest.mark.postgres
async def test_a_server_that_crashes(cluster: OwnPostgres) -> None:
    """A server process that is killed takes all connections along; callers get STORE_UNAVAILABLE, or are served."""
    async with orders(cluster) as db:
        for _ in range(3):
            victim = await asyncpg.connect(f"{cluster.url}/postgres")
            pid = await victim.fetchval("SELECT pg_backend_pid()")
            asking = [asyncio.create_task(_ask_on(db)) for _ in range(8)]
            os.kill(pid, signal.SIGKILL)
            outcomes = await asyncio.gather(*asking, return_exceptions=True)
            assert not [each for each in outcomes if each is not None], outcomes
            with suppress(Exception):
                await victim.close(timeout=1)
            await _eventually_serves(db)


async def _ask_on(db: Database) -> None:
    """Call until the crash has raised its error, or for a second."""
    end = asyncio.get_running_loop().time() + 1
    while asyncio.get_running_loop().time() < end:
        try:
            await db.write(_change)
        except StoreUnavailable:
            await asyncio.sleep(0.01)


@pytest.mark.postgres
async def test_a_session_that_an_operator_ends(cluster: OwnPostgres) -> None:
    """A statement whose session is ended from outside is done again, or is STORE_UNAVAILABLE where it cannot be."""
    async with orders(cluster) as db:
        operator = await asyncpg.connect(f"{cluster.url}/orders")
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        await operator.execute(end)
        assert await _serves(db)
        with pytest.raises(StoreUnavailable):
            async with db.transaction() as connection:
                await operator.execute(end)
                await connection.run_sync(_one)
        assert await _serves(db)
        await operator.close()


@pytest.mark.postgres
async def test_a_server_without_room_for_connections(cluster: OwnPostgres) -> None:
    """Too many connections is STORE_UNAVAILABLE, until there is room again."""
    cluster.stop()
    cluster.start(max_connections="6", superuser_reserved_connections="0", max_wal_senders="0")
    await cluster.started()
    async with orders(cluster) as db, AsyncExitStack() as stack:
        async with opened_anew(db):
            with suppress(asyncpg.TooManyConnectionsError):
                while True:
                    connection = await asyncpg.connect(f"{cluster.url}/postgres")
                    stack.push_async_callback(connection.close)
            assert all("too many clients" in cause for cause in await _refused(db))
        await stack.aclose()
        await _eventually_serves(db)


@pytest.mark.postgres
async def test_a_standby(cluster: OwnPostgres) -> None:
    """A server that was demoted is read from; what would write is STORE_UNAVAILABLE, as all is before it is ready."""
    async with orders(cluster) as db:
        cluster.stop()
        cluster.make_standby()
        cluster.start(hot_standby="off")

        async def not_accepting() -> bool:
            return "not accepting connections" in (await _refused(db))[0]

        await eventually(not_accepting)
        cluster.stop()
        cluster.start(hot_standby="on")
        await cluster.started()
        assert await db.read(_one) == 1
        with pytest.raises(StoreUnavailable):
            await db.write(_change)


@pytest.mark.postgres
async def test_locks_and_limits(cluster: OwnPostgres) -> None:
    """Waiting too long, a deadlock's victim, a cancelled statement, a limit of the disk: STORE_UNAVAILABLE each."""
    async with orders(cluster) as db:
        async with db.transaction() as holder:
            await holder.execute(text("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"))
            for setting in ("lock_timeout", "statement_timeout"):

                def wait(connection: Connection, setting: str = setting) -> None:
                    connection.execute(text(f"SET LOCAL {setting} = 50"))
                    connection.execute(text("SELECT * FROM orders"))

                with pytest.raises(StoreUnavailable):
                    await db.write(wait)

        def spill(connection: Connection) -> None:
            connection.execute(text("SET LOCAL temp_file_limit = 1"))
            connection.execute(text("SET LOCAL work_mem = 64"))
            connection.execute(text("SELECT g FROM generate_series(1, 200000) g ORDER BY random()"))

        with pytest.raises(StoreUnavailable):
            await db.write(spill)
        meeting = asyncio.Barrier(2)

        async def cross(*keys: int) -> None:
            async with db.transaction() as connection:
                await connection.execute(text("SET LOCAL deadlock_timeout = 50"))
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": keys[0]})
                await meeting.wait()
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": keys[1]})

        outcomes = await asyncio.gather(cross(1, 2), cross(2, 1), return_exceptions=True)
        assert sorted(type(each).__name__ for each in outcomes) == ["NoneType", "StoreUnavailable"]


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(text("SELECT * FROM no_such_table"), id="no such table"),
        pytest.param(text("SELEKT"), id="no SQL"),
        pytest.param(text("UPDATE orders SET version = :n").bindparams(_TOO_LARGE), id="range"),
    ],
)
async def test_what_is_wrong_with_a_statement(database_url: str, tmp_path: Path, statement: Any) -> None:
    """An error of ours is not blamed on the database: no client is asked to come back for it."""
    url = database_url.replace("{service}", "orders") or f"sqlite:///{tmp_path}/orders.sqlite"

    def wrong(connection: Connection) -> None:
        connection.execute(statement)

    async with opened("orders", url) as db:
        with pytest.raises((DBAPIError, OverflowError)) as raised:
            await db.write(wrong)
        assert await _serves(db)
    assert not is_temporary(raised.value)
