"""The user store's promises, on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chassis.errors import ShopError
from services.users.demo import DEMO_USERS
from services.users.domain import Role, User
from services.users.oauth_clients import Client, Code
from services.users.sql_store import SqlUserStore
from tests.contract.databases import opened, url_of


def a_user(user_id: str, email: str = "") -> User:
    registered_at = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
    return User(user_id, "Ada", email or f"{user_id}@shop.test", Role.CUSTOMER, "hash", registered_at)


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> str:
    return url_of("users", database_url, tmp_path)


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlUserStore]:
    async with opened("users", url) as db:
        yield SqlUserStore(db)


async def test_user_comes_back_as_registered(store: SqlUserStore) -> None:
    """A user is found by email and by id, as they were written, in the requested order and once each."""
    ada, bob = a_user("a"), a_user("b")
    await store.add(ada)
    await store.add(bob)
    assert await store.by_email("a@shop.test") == ada
    assert await store.by_email("nobody@shop.test") is None
    assert await store.by_ids(["b", "x", "a", "b"]) == [bob, ada]


async def test_an_email_is_taken_once(store: SqlUserStore) -> None:
    """Of twenty who register one email at once, one has it and nineteen get an error that it is taken."""
    outcomes = await asyncio.gather(
        *(store.add(a_user(f"u{number}", "same@shop.test")) for number in range(20)), return_exceptions=True
    )
    assert sum(outcome is None for outcome in outcomes) == 1
    assert {outcome.code for outcome in outcomes if isinstance(outcome, ShopError)} == {"EMAIL_TAKEN"}


async def test_demo_users_are_added_once_by_two_at_once(url: str, store: SqlUserStore) -> None:
    """Two processes that load the demo accounts at once, and a third later, leave each once."""
    async with opened("users", url) as second:
        await asyncio.gather(store.add_missing(DEMO_USERS), SqlUserStore(second).add_missing(DEMO_USERS))
    await store.add_missing(DEMO_USERS)
    assert await store.by_ids([user.id for user in DEMO_USERS]) == list(DEMO_USERS)


async def test_two_processes_agree_on_the_first_signing_key(url: str, store: SqlUserStore) -> None:
    """Two processes that start on an empty database at once sign with the same key, and so does a later start."""
    async with opened("users", url) as second:
        first, other = await asyncio.gather(store.signing_keys(), SqlUserStore(second).signing_keys())
    assert first == other == await store.signing_keys()
    assert len(first) == 1


def a_client(number: int) -> Client:
    uris = ("https://agent.test/a", "http://127.0.0.1/b")
    return Client(f"client-{number}", "An agent", uris, datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=number))


def a_code(hashed: str, client_id: str = "client-0", *, seconds: float = 60) -> Code:
    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
    return Code(hashed, client_id, "https://agent.test/a", "challenge", "123", expires_at)


async def test_a_client_comes_back_as_registered(store: SqlUserStore) -> None:
    """A client is found by its id, with its redirect URIs in their order."""
    await store.add_client(a_client(0))
    found = await store.client("client-0")
    assert found is not None
    assert (found.name, *found.redirect_uris) == ("An agent", *a_client(0).redirect_uris)
    assert await store.client("unknown") is None


async def test_clients_that_were_never_used_are_bounded(store: SqlUserStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that no user let act, the newest stay; one that was let act stays, however many register."""
    monkeypatch.setattr("services.users.sql_store.MAX_UNUSED_CLIENTS", 3)
    await store.add_client(a_client(0))
    await store.add_code(a_code("used"))
    for number in range(1, 6):
        await store.add_client(a_client(number))
    kept = [number for number in range(6) if await store.client(f"client-{number}")]
    assert kept == [0, 3, 4, 5]
    # With the clock set back, the newest is the oldest, and its program waits for its user nevertheless.
    late = a_client(6)
    await store.add_client(replace(late, registered_at=a_client(0).registered_at))
    assert await store.client("client-6")


async def test_a_code_is_taken_once(url: str, store: SqlUserStore) -> None:
    """Of twenty who take a code at once, over two connections, one gets it."""
    await store.add_code(a_code("wanted"))
    async with opened("users", url) as second:
        stores = [store, SqlUserStore(second)]
        found = await asyncio.gather(*(stores[number % 2].take_code("wanted") for number in range(20)))
    assert [code.user_id for code in found if code] == ["123"]


async def test_expired_codes_are_forgotten(store: SqlUserStore) -> None:
    """The next code takes those with it that have expired."""
    await store.add_code(a_code("old", seconds=-1))
    await store.add_code(a_code("new"))
    assert await store.take_code("old") is None
    assert await store.take_code("new") is not None
