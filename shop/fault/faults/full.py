"""A database without room: files that grow no more, or statements that PostgreSQL refuses as it does on a full disk."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from chassis.settings import ProcessSettings
from shop.errors import Refused
from shop.fault.at_work import alone
from shop.fault.faults.ground import Fault, Ground
from shop.fault.faults.guard import Guard

# Of the advisory lock whose holder shows the triggers that the fault is at work.
_LOCK = 5_310_053_100
_TRIGGER = "shop_fault_full"
# Seconds.
_CONNECT_TIMEOUT = 10
_FUNCTION = f"""
CREATE OR REPLACE FUNCTION {_TRIGGER}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database
             WHERE locktype = 'advisory' AND datname = current_database()
             AND classid = {_LOCK >> 32} AND objid = {_LOCK & 0xFFFFFFFF}) THEN
    RAISE EXCEPTION USING ERRCODE = 'disk_full',
      MESSAGE = 'could not extend file: No space left on device (shop fault)';
  END IF;
  RETURN NULL;
END $$
"""  # noqa: S608  # nosec B608 # numbers and a name of ours alone go in
_TABLES = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema()"


def full(ground: Ground, service: str) -> Fault:
    """`database full SERVICE`. Raises `Refused` where no service is named."""
    if not service:
        raise Refused("name the database that is full, as in `database full orders`")
    url = ground.env.get("SHOP_DATABASE_URL", "")
    if url.startswith("postgres"):
        password = ground.env.get("SHOP_DATABASE_PASSWORD", "")
        settings = ProcessSettings(database_url=url, database_password=password)
        return FullPostgres(ground, service, settings.database(service))
    return FullFile(ground, service)


class FullFile:
    """No file can be made longer by the processes that have the service's SQLite file open: RLIMIT_FSIZE is 0.

    The kernel refuses each write with EFBIG, where a full disk gives ENOSPC; SQLite fails the statement for both, and
    undoes its transaction. What such a process writes elsewhere (its embedded broker's file, its log) fails, too.
    """

    momentary = False

    def __init__(self, ground: Ground, service: str) -> None:
        self.words = f"database full {service}"
        self._ground, self._file = ground, ground.data_dir / f"{service}.sqlite"
        self._limits: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._before: dict[str, int] = {}
        self._met = 0
        self._guard: Guard | None = None

    def begin(self) -> str:
        """Set the limits. A guard lifts them should this program be killed. Raises `Refused`."""
        if not sys.platform.startswith("linux"):
            raise Refused("a full SQLite file needs Linux: there a process's limits can be set from outside (prlimit)")
        if not self._file.exists():
            raise Refused(f"there is no {self._file.name} in {self._file.parent}")
        import resource

        self._names = {pid: name for pid, name in self._ground.pids().items() if _has_open(pid, self._file)}
        if not self._names:
            raise Refused(f"no process of the shop has {self._file.name} open")
        self._limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE)[0] for pid in self._names}
        if 0 in self._limits.values():
            raise Refused(f"{self._file.name} is full already, by another `shop fault`: `shop fault stop` ends it")
        self._guard = Guard(restore, [f"{pid}:{limit}" for pid, limit in self._limits.items()])
        self._before = self._chunks()
        for pid in self._limits:
            _limit(pid, 0)
        return f"{', '.join(self._names.values())}: no byte more can be written"

    def end(self) -> str:
        """Lift the limits."""
        now = self._chunks()
        self._met = sum(max(0, now.get(name, 0) - before) for name, before in self._before.items())
        for pid, limit in self._limits.items():
            _limit(pid, limit)
        if self._guard is not None:
            self._guard.dismiss()
        return f"{self._file.name} can grow again"

    def met(self) -> int | None:
        """Chunks that reached those processes meanwhile."""
        return self._met if self._ground.lab else None

    def _chunks(self) -> dict[str, int]:
        names = set(self._names.values())
        links = [link for name in names for link in self._ground.links_of(name) if link.target in names]
        return {link.name: link.chunks for link in links}


def restore(limits: Sequence[str]) -> None:
    """Set limits of file sizes: `PID:BYTES` each, -1 for none."""
    for pid, _, limit in (each.partition(":") for each in limits):
        _limit(int(pid), int(limit))


def _limit(pid: int, size: int) -> None:
    import resource

    with suppress(ProcessLookupError, PermissionError):
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def _has_open(pid: int, file: Path) -> bool:
    with suppress(OSError):
        return any(os.path.realpath(link) == str(file.resolve()) for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


class FullPostgres:
    """Every INSERT and UPDATE fails with SQLSTATE 53100 (disk_full), as the server's own would.

    The server's disk is not ours to fill: a trigger on each table raises what the server would, before a row is
    written. It does so only while this fault's session holds a lock, so that one that was killed breaks nothing.
    """

    momentary = False

    def __init__(self, ground: Ground, service: str, url: str) -> None:
        self.words = f"database full {service}"
        self._ground, self._service, self._url = ground, service, url
        self._loop = asyncio.new_event_loop()
        self._session: Any = None
        self._release: Callable[[], None] = lambda: None
        self._tables: list[str] = []
        self._before: dict[str, int] = {}
        self._met = 0

    def begin(self) -> str:
        """Put the triggers there, and take the lock. Raises `Refused`."""
        self._release = alone(self._ground.data_dir, f"database of {self._service}")
        self._before = self._chunks()
        try:
            self._run(self._break())
        except self._failures() as error:
            self._close()
            raise Refused(f"the database of {self._service} cannot be made full: {_reason(error)}") from error
        except BaseException:
            self._close()
            raise
        return f"{self._service}: INSERT and UPDATE on {len(self._tables)} tables fail with 53100 (disk full)"

    def end(self) -> str:
        """Take them away."""
        now = self._chunks()
        self._met = sum(max(0, now.get(name, 0) - before) for name, before in self._before.items())
        try:
            self._run(self._mend())
        except self._failures() as error:
            return f"the triggers stay, and do nothing any more ({_reason(error)})"
        finally:
            self._close()
        return f"{self._service} can write again"

    def met(self) -> int | None:
        """Chunks that went to the database meanwhile."""
        return self._met if self._ground.lab else None

    async def _break(self) -> None:
        import asyncpg

        url = self._url.replace("postgresql+asyncpg", "postgresql")
        self._session = await asyncpg.connect(url, timeout=_CONNECT_TIMEOUT)
        self._tables = [row[0] for row in await self._session.fetch(_TABLES)]
        await self._session.execute(_FUNCTION)
        for table in self._tables:
            # The server has quoted the tables' names.
            await self._session.execute(
                f"CREATE OR REPLACE TRIGGER {_TRIGGER} BEFORE INSERT OR UPDATE ON {table} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {_TRIGGER}()"
            )
        await self._session.execute("SELECT pg_advisory_lock($1)", _LOCK)

    async def _mend(self) -> None:
        await self._session.execute("SELECT pg_advisory_unlock($1)", _LOCK)
        for table in self._tables:
            await self._session.execute(f"DROP TRIGGER IF EXISTS {_TRIGGER} ON {table}")
        await self._session.execute(f"DROP FUNCTION IF EXISTS {_TRIGGER}()")

    def _close(self) -> None:
        """End the session, and with it the lock; a server that is away has ended it already."""
        if self._session is not None:
            with suppress(*self._failures()):
                self._run(self._session.close(timeout=_CONNECT_TIMEOUT))
        self._loop.close()
        self._release()

    @staticmethod
    def _failures() -> tuple[type[Exception], ...]:
        """The errors of a database; imported where it is used, for most faults use none."""
        import asyncpg

        return (
            OSError,
            TimeoutError,
            ValueError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        )

    def _run(self, step: Any) -> None:
        self._loop.run_until_complete(asyncio.wait_for(step, 30))

    def _chunks(self) -> dict[str, int]:
        return {
            name: link.chunks for name, link in self._ground.all_links().items() if name == f"{self._service}->database"
        }
