"""Named cross-process locks, released when their holder dies."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.errors import StoreUnavailable

_TRY = text("SELECT pg_try_advisory_lock(hashtext(:name))")
_WAIT = text("SELECT pg_advisory_lock(hashtext(:name))")
_UNLOCK = text("SELECT pg_advisory_unlock(hashtext(:name))")


@asynccontextmanager
async def file_lock(path: Path, *, wait: bool) -> AsyncIterator[bool]:
    """A lock on a file; yields whether it is held, which without `wait` may be False."""
    # Not `open`: what it makes around the descriptor takes five times as long as the lock.
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        held = _locked(file)
        while wait and not held:
            await asyncio.sleep(0.02)
            held = _locked(file)
        yield held
    finally:
        os.close(file)  # which gives the lock back


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@asynccontextmanager
async def advisory_lock(
    sessions: AbstractAsyncContextManager[AsyncConnection], name: str, *, wait: bool
) -> AsyncIterator[bool]:
    """A PostgreSQL advisory lock, held by a session of its own (in AUTOCOMMIT); yields whether it is held.

    A server that has gone has lost the lock, and another process may hold it: then the block is cancelled, and
    `StoreUnavailable` raised.
    """
    async with sessions as session:
        key = {"name": name}
        held = bool(await session.scalar(_WAIT if wait else _TRY, key)) or wait
        if not held:
            yield False
            return
        try:
            async with _while_it_lasts(session):
                yield True
        finally:
            try:
                await session.execute(_UNLOCK, key)
            except (SQLAlchemyError, OSError):
                # The lock ends with the session, and nothing else may be heard of it: least of all in place of the
                # cancellation that has led here.
                await session.invalidate()


@asynccontextmanager
async def _while_it_lasts(session: AsyncConnection) -> AsyncIterator[None]:
    """Cancel the block when the session ends before it does. Raises `StoreUnavailable` then."""
    driver: Any = (await session.get_raw_connection()).driver_connection
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
