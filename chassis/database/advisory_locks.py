"""PostgreSQL's advisory locks, each held by a session of its own (in AUTOCOMMIT), and lost with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection, Text, bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError

from chassis.errors import StoreUnavailable

_KEY = func.hashtext(bindparam("name", type_=Text))
_TRY = select(func.pg_try_advisory_lock(_KEY))
_WAIT = select(func.pg_advisory_lock(_KEY))
_UNLOCK = select(func.pg_advisory_unlock(_KEY))


def acquire(session: Connection, name: str, *, wait: bool) -> bool:
    """Whether the lock is held, which without `wait` may be False."""
    return bool(session.scalar(_WAIT if wait else _TRY, {"name": name})) or wait


def release(session: Connection, name: str) -> None:
    try:
        session.execute(_UNLOCK, {"name": name})
    except (SQLAlchemyError, OSError):
        # The lock ends with the session, and no other error may be raised: least of all in place of the
        # cancellation that has led here.
        session.invalidate()


@asynccontextmanager
async def cancel_when_lost(driver: Any) -> AsyncIterator[None]:
    """Cancel the block when the driver's connection ends before it does: another process may hold the lock by then.

    Raises `StoreUnavailable` then.
    """
    lasting = True
    try:
        async with asyncio.timeout(None) as holding:

            def lost(_: object) -> None:
                if lasting:
                    holding.reschedule(0)

            driver.add_termination_listener(lost)
            try:
                yield
            finally:
                lasting = False
                driver.remove_termination_listener(lost)
    except TimeoutError:
        if holding.expired():
            raise StoreUnavailable from None
        raise
