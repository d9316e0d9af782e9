"""Group commit: transactions of the same moment share one commit, and one wait for the disk."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from sqlalchemy import Connection

from chassis.database.batching import Batcher
from chassis.database.errors import is_temporary
from chassis.database.transactions import Work

T = TypeVar("T")

# Seconds from one commit to the next, where a caller requests a group. A transaction that comes alone does not wait.
_FLUSH_INTERVAL = 0.005


class Write(Protocol):
    async def __call__(self, work: Work[T]) -> T: ...


@dataclass(frozen=True, slots=True)
class _Submitted:
    """One caller's work, and the context (trace, caller, deadline) that it is run in."""

    work: Work[Any]
    context: Context = field(default_factory=copy_context)

    def run(self, connection: Connection) -> Any:
        return self.context.copy().run(self.work, connection)


class _WorkFailed(Exception):
    """One work of a group raised, before anything was committed."""


class GroupCommit:
    def __init__(self, write: Write, *, every: float = _FLUSH_INTERVAL) -> None:
        """`write` runs a function of a connection in one transaction; `every`: see `Batcher`."""
        self._write = write
        self._batcher: Batcher[_Submitted, Any] = Batcher(self._write_group, every=every)

    async def write(self, work: Work[T]) -> T:
        return cast("T", await self._batcher.submit(_Submitted(work)))

    async def _write_group(self, group: Sequence[_Submitted]) -> Sequence[Any]:
        """Run a group in one transaction. When one of it raises, nothing is committed, and each gets its own."""

        def together(connection: Connection) -> list[Any]:
            try:
                return [each.run(connection) for each in group]
            except Exception as error:
                if is_temporary(error):
                    raise  # the database's fault, so every item's
                raise _WorkFailed from error

        if len(group) > 1:
            try:
                return await self._write(together)
            except _WorkFailed:
                pass  # found out below whose it was, and raised there
        return [await self._write_alone(each) for each in group]

    async def _write_alone(self, submitted: _Submitted) -> Any:
        try:
            return await self._write(submitted.run)
        except Exception as error:  # noqa: BLE001 - it is raised where the work was submitted
            return error
