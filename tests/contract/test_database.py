"""What every service relies on of its database, on every database."""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, column, select, table, text
from sqlalchemy.engine import make_url

from chassis.database.database import Database, after_commit
from chassis.errors import StoreUnavailable
from services.orders.bootstrap import MIGRATIONS
from services.orders.sql_store import SqlOrderStore, orders, outbox
from tests.contract.databases import opened, unrelayed, url_of
from tests.contract.orders import an_order, placed
from tests.contract.proxy import proxy

REPOSITORY = Path(__file__).parents[2]
asked_by: ContextVar[str] = ContextVar("asked_by")
PROCESS = (sys.executable, "-m", "tests.contract.store_process")


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> str:
    return url_of("orders", database_url, tmp_path)


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    async with opened("orders", url) as found:
        yield found


def _revision(connection: Connection) -> str:
    return str(connection.scalar(text("SELECT version_num FROM alembic_version")))


def _count_up(connection: Connection) -> None:
    """In two statements, as a decision is made in between; PostgreSQL needs a lock for it."""
    version = table("alembic_version", column("version_num"))
    found = connection.scalar(select(version.c.version_num).with_for_update())
    connection.execute(text("UPDATE alembic_version SET version_num = :next"), {"next": str(int(found or "0") + 1)})


async def count(db: Database) -> int:
    async with db.reading() as connection:
        return len((await connection.execute(select(orders.c.id))).all())


async def test_what_reads_sees_one_state(db: Database) -> None:
    """What is committed while a block reads is not seen in that block, and is in the next one."""

    async def version() -> str:
        return str(await connection.scalar(text("SELECT version_num FROM alembic_version")))

    async with db.reading() as connection:
        first = await version()
        await db.write(lambda writing: writing.execute(text("UPDATE alembic_version SET version_num = 'later'")))
        assert await version() == first
    async with db.reading() as connection:
        assert await version() == "later"


class TestMigrations:
    async def test_two_that_open_at_once_migrate_once(self, url: str) -> None:
        """Two starts in the same moment on nothing: both find the finished schema, at its newest revision."""

        async def revision() -> str:
            async with opened("orders", url) as db, db.reading() as connection:
                return str(await connection.scalar(text("SELECT version_num FROM alembic_version")))

        newest = max(path.name[:4] for path in MIGRATIONS.glob("[0-9]*.py"))
        assert set(await asyncio.gather(revision(), revision(), revision())) == {newest}

    async def test_two_processes_that_start_at_once_migrate_once(self, url: str) -> None:
        """Two real processes started on nothing both come up, and place one order under one key."""
        processes = [
            await asyncio.create_subprocess_exec(*PROCESS, url, "k", cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE)
            for _ in range(2)
        ]
        outputs = [(await process.communicate())[0].decode().split() for process in processes]
        assert [process.returncode for process in processes] == [0, 0]
        assert outputs[0] == outputs[1] != []
        async with opened("orders", url) as db:
            assert await count(db) == 1

    async def test_second_start_finds_the_first_ones_state(self, url: str) -> None:
        """What was committed is there after a restart, and migrating again leaves it alone."""
        async with opened("orders", url) as db:
            order = await placed(SqlOrderStore(db, unrelayed(outbox, db)), an_order())
        async with opened("orders", url) as db:
            assert await SqlOrderStore(db, unrelayed(outbox, db)).get(order.id) is not None


class TestTransactions:
    async def test_failure_undoes_everything(self, db: Database) -> None:
        """A block that fails leaves nothing behind, and what it wanted done after the commit is not done."""
        called: list[str] = []
        with pytest.raises(RuntimeError):
            async with db.transaction() as connection:
                await connection.execute(text("DELETE FROM alembic_version"))
                after_commit(connection, lambda: called.append("done"))
                raise RuntimeError
        async with db.reading() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1
        assert called == []

    async def test_callbacks_run_after_the_commit(self, db: Database) -> None:
        """What is left for after the commit runs once it is committed, and not for the next transaction again."""
        called: list[str] = []
        async with db.transaction() as connection:
            after_commit(connection, lambda: called.append("done"))
            assert called == []
        assert called == ["done"]
        async with db.transaction():
            pass
        assert called == ["done"]

    async def test_cancelled_transaction_is_undone_and_blocks_no_other(self, db: Database) -> None:
        """A caller who gives up in the middle of a transaction leaves nothing behind and no lock held."""
        inside = asyncio.Event()

        async def hang() -> None:
            async with db.transaction() as connection:
                await connection.execute(text("UPDATE alembic_version SET version_num = 'never'"))
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hang())
        await inside.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(20), db.transaction() as connection:
            assert await connection.scalar(text("SELECT version_num FROM alembic_version")) != "never"

    async def test_readers_do_not_wait_for_the_writer(self, db: Database) -> None:
        """Reading goes on during a transaction, and sees the state before it."""
        async with db.transaction() as connection:
            await connection.execute(text("DELETE FROM alembic_version"))
            async with asyncio.timeout(20), db.reading() as reader:
                assert await reader.scalar(text("SELECT count(*) FROM alembic_version")) == 1


class TestShortWork:
    """`read` and `write`: plain functions of a connection."""

    async def test_what_is_written_is_read(self, db: Database) -> None:
        """A write has committed when it returns, and the next read sees it."""
        await db.write(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = 'new'")))
        assert await db.read(_revision) == "new"

    async def test_failure_undoes_everything(self, db: Database) -> None:
        """A write that fails leaves nothing behind, raises its own error, and does not run its callbacks."""
        called: list[str] = []

        def failing(connection: Connection) -> None:
            connection.execute(text("DELETE FROM alembic_version"))
            after_commit(connection, lambda: called.append("done"))
            raise LookupError

        with pytest.raises(LookupError):
            await db.write(failing)
        assert await db.read(_revision)
        assert called == []

    async def test_callbacks_run_after_the_commit(self, db: Database) -> None:
        """What a write leaves for after the commit runs once, in the event loop's thread."""
        called: list[threading.Thread] = []
        await db.write(lambda connection: after_commit(connection, lambda: called.append(threading.current_thread())))
        await db.write(lambda _connection: None)
        assert called == [threading.current_thread()]

    async def test_a_write_knows_its_callers_context(self, db: Database) -> None:
        """A write sees its caller's context variables, such as the trace."""
        asked_by.set("me")
        assert await db.write(lambda _connection: asked_by.get()) == "me"

    async def test_a_read_writes_nothing(self, db: Database) -> None:
        """A read does not wait for a transaction, and sees the state before it."""
        async with db.transaction() as connection:
            await connection.execute(text("DELETE FROM alembic_version"))
            async with asyncio.timeout(20):
                assert await db.read(_revision)

    async def test_writes_take_turns(self, db: Database) -> None:
        """Of a hundred writes at once that count up, none is lost, beside transactions that do the same."""
        await db.write(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '0'")))

        async def in_a_transaction() -> None:
            async with db.transaction() as connection:
                await connection.run_sync(_count_up)

        await asyncio.gather(*(db.write(_count_up) if number % 2 else in_a_transaction() for number in range(100)))
        assert await db.read(_revision) == "100"

    async def test_only_a_write_that_may_be_lost_does_not_wait_for_the_disk(self, db: Database) -> None:
        """A write that need not survive a power failure is seen and undone like any; the next one survives again."""

        def counted(connection: Connection) -> tuple[int, int]:
            _count_up(connection)
            return connection.scalar(text("PRAGMA synchronous")), connection.scalar(text("PRAGMA wal_autocheckpoint"))

        def failing(connection: Connection) -> None:
            _count_up(connection)
            raise LookupError

        await db.write(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '0'")))
        if db.is_sqlite:
            found = [await db.write(counted, durable=durable) for durable in (True, False, False, True)]
            assert found == [(2, 1000), (1, 0), (1, 0), (2, 1000)]
        else:  # PostgreSQL commits each alike
            for durable in (True, False, False, True):
                await db.write(_count_up, durable=durable)
        with pytest.raises(LookupError):
            await db.write(failing, durable=False)
        assert await db.read(_revision) == "4"

    async def test_cancelled_write_blocks_no_other(self, db: Database) -> None:
        """A caller who gives up on a write leaves no lock held."""
        started, loop = asyncio.Event(), asyncio.get_running_loop()

        def slow(connection: Connection) -> None:
            _count_up(connection)
            loop.call_soon_threadsafe(started.set)

        await db.write(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '0'")))
        task = asyncio.create_task(db.write(slow))
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(20):
            await db.write(_count_up)
        assert await db.read(_revision) in ("1", "2")


class TestCancelled:
    @pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34])
    async def test_nothing_is_left_behind(self, db: Database, turns: int) -> None:
        """Callers that give up at any moment leave no lock, no transaction and no connection behind."""

        async def locking() -> None:
            async with db.try_lock("relay"):
                await db.read(_revision)

        await db.write(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '0'")))
        for _ in range(10):  # there are eight connections
            works = (asyncio.create_task(work) for work in (db.read(_revision), db.write(_count_up), locking()))
            tasks = list(works)
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(20), db.transaction() as connection:
            await connection.run_sync(_count_up)
        async with db.try_lock("relay") as held:
            assert held
        before = int(await db.read(_revision))
        await db.write(_count_up)
        assert int(await db.read(_revision)) == before + 1


class TestVersion:
    async def test_it_changes_with_every_write(self, url: str, db: Database) -> None:
        """A database with a version changes it at each write, its own and another's."""
        assert await db.read(_revision)
        if not db.is_sqlite:
            assert db.version() is None
            return
        found = [db.version(), db.version()]
        assert found[0] == found[1]
        async with opened("orders", url) as second:
            for writer in (db, second):
                await writer.write(_count_up)
                found.append(db.version())
        async with db.transaction() as connection:
            await connection.run_sync(_count_up)
        assert len({*found, db.version()}) == 4


class TestUnavailable:
    @pytest.mark.postgres
    async def test_a_server_that_is_gone(self, postgres_databases: str) -> None:
        """A caller gets STORE_UNAVAILABLE while the server is away, and is served again when it is back."""
        url = make_url(url_of("orders", postgres_databases, Path()))
        async with proxy(url.host or "", url.port or 5432) as network:
            detour = url.set(host="127.0.0.1", port=network.port).render_as_string(hide_password=False)
            async with opened("orders", detour) as db:
                assert await db.read(_revision)
                network.refusing = True
                network.cut()
                for work in (db.read(_revision), db.write(_revision)):
                    with pytest.raises(StoreUnavailable):
                        await work
                network.refusing = False
                assert await db.read(_revision)
                assert await db.write(_revision)

    @pytest.mark.postgres
    async def test_connections_that_have_died(self, postgres_databases: str) -> None:
        """A server that has come back meanwhile raises no error, whatever the call."""
        url = make_url(url_of("orders", postgres_databases, Path()))
        async with proxy(url.host or "", url.port or 5432) as network:
            detour = url.set(host="127.0.0.1", port=network.port).render_as_string(hide_password=False)
            async with opened("orders", detour) as db:

                async def in_a_block() -> str:
                    async with db.transaction() as connection:
                        return await connection.run_sync(_revision)

                works: list[Callable[[], Awaitable[str]]] = [partial(db.read, _revision), partial(db.write, _revision)]
                for work in (*works, in_a_block):
                    assert await db.read(_revision)
                    network.cut()
                    assert await work()

    @pytest.mark.postgres
    async def test_an_unconfirmed_commit_is_not_repeated(self, postgres_databases: str) -> None:
        """A connection that dies under a commit raises STORE_UNAVAILABLE: it may have happened."""
        url = make_url(url_of("orders", postgres_databases, Path()))
        async with proxy(url.host or "", url.port or 5432) as network:
            detour = url.set(host="127.0.0.1", port=network.port).render_as_string(hide_password=False)
            async with opened("orders", detour) as db:
                done: list[str] = []

                def last(connection: Connection) -> None:
                    done.append(_revision(connection))
                    network.cut()

                with pytest.raises(StoreUnavailable):
                    await db.write(last)
        assert len(done) == 1

    async def test_a_file_that_is_gone(self, tmp_path: Path) -> None:
        """A file that cannot be opened any more is STORE_UNAVAILABLE, not an error of ours."""
        folder = tmp_path / "state"
        folder.mkdir()
        async with opened("orders", url_of("orders", "", folder)) as db:
            shutil.rmtree(folder)
            for work in (db.read(_revision), db.write(_revision)):
                with pytest.raises(StoreUnavailable):
                    await work


class TestExclusively:
    async def test_one_at_a_time_over_two_connections(self, url: str, db: Database) -> None:
        """While one holds a task's lock the others do not get it, for this task only; then the next one does."""
        async with opened("orders", url) as second:
            async with db.try_lock("relay") as mine, second.try_lock("relay") as theirs:
                assert (mine, theirs) == (True, False)
                async with second.try_lock("other") as another:
                    assert another
            async with second.try_lock("relay") as theirs:
                assert theirs

    async def test_a_step_is_left_out_while_another_runs_it(self, url: str, db: Database) -> None:
        """It runs again once the other one has ended."""
        ran = []

        async def step() -> None:
            ran.append(1)

        async with opened("orders", url) as second:
            async with db.try_lock("retention"):
                await second.if_alone("retention", step)
            assert ran == []
            await second.if_alone("retention", step)
            assert ran == [1]

    async def test_it_is_free_after_a_cancellation(self, url: str, db: Database) -> None:
        """A holder that is cancelled releases the lock."""
        held = asyncio.Event()

        async def hold() -> None:
            async with db.try_lock("relay"):
                held.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hold())
        await held.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with opened("orders", url) as second, second.try_lock("relay") as theirs:
            assert theirs

    @pytest.mark.postgres
    async def test_a_server_that_goes_takes_it_along(self, postgres_databases: str) -> None:
        """A holder is stopped when the server loses its lock, and can still be cancelled then."""
        url = make_url(url_of("orders", postgres_databases, Path()))
        async with proxy(url.host or "", url.port or 5432) as network:
            detour = url.set(host="127.0.0.1", port=network.port).render_as_string(hide_password=False)
            async with opened("orders", detour) as db:
                with pytest.raises(StoreUnavailable):
                    async with asyncio.timeout(20), db.try_lock("relay"):
                        network.cut()
                        await asyncio.Event().wait()
                held = asyncio.Event()

                async def hold() -> None:
                    async with db.try_lock("relay") as alone:
                        assert alone
                        held.set()
                        await asyncio.Event().wait()

                task = asyncio.create_task(hold())
                await held.wait()
                task.cancel()
                network.cut()
                with pytest.raises(asyncio.CancelledError):
                    await task
