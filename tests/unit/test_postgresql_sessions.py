"""Sessions of PostgreSQL that stay out of the pool between two uses."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from chassis.database import engines
from chassis.database.postgresql import _Sessions


class Session:
    """Fake: its caller is cancelled while the server rolls back."""

    def __init__(self) -> None:
        self.discarded = False

    def clean(self) -> None:
        raise asyncio.CancelledError

    def discard(self) -> None:
        self.discarded = True


def test_a_session_is_given_up_when_its_caller_is_cancelled_while_it_is_cleaned() -> None:
    """Else its place in the pool, its transaction and its locks would stay."""
    session = Session()
    sessions = object.__new__(_Sessions)
    with pytest.raises(asyncio.CancelledError), sessions.returned(cast("Any", session)):
        raise ValueError("out of stock")
    assert session.discarded


async def test_a_server_that_never_answers_is_given_up_when_its_database_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After the time that each connection has; asyncpg's own is a minute, for each service."""
    monkeypatch.setattr(engines, "_CONNECT_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://shop@127.0.0.1:{silent.getsockname()[1]}/orders"
        async with asyncio.timeout(30):
            with pytest.raises(TimeoutError):
                async with engines.open_engine(url, create=True, pool_size=1):
                    pass
