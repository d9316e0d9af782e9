"""Loaders, without a server: what is fetched together, and what becomes of it when a field is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from graphql_server.loaders import BATCH_SIZE, Found, Loader


class Upstream:
    """A fake: finds every key, or fails; `held` keeps its answers back."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.called = asyncio.Event()
        self.held: asyncio.Event | None = None
        self.failure: Exception | None = None

    async def fetch(self, keys: list[str]) -> Found:
        self.calls.append(list(keys))
        self.called.set()
        if self.held is not None:
            await self.held.wait()
        if self.failure is not None:
            raise self.failure
        return {key: key.upper() for key in keys if key != "missing"}


async def test_what_is_wanted_at_once_is_fetched_once() -> None:
    """In one call, each key once; a key that is known is not fetched again, and one that is not there is None."""
    upstream = Upstream()
    loader = Loader(upstream.fetch)
    found = await asyncio.gather(*[loader.load(key) for key in ("a", "b", "a", "missing")])
    assert found == ["A", "B", "A", None]
    assert upstream.calls == [["a", "b", "missing"]]
    assert (await loader.load_many(["b", "c"]))["b"] == "B"
    assert upstream.calls[1:] == [["c"]]


async def test_what_begins_a_turn_later_is_in_the_same_call() -> None:
    """A field whose resolver awaits something first still comes in time."""
    upstream = Upstream()
    loader = Loader(upstream.fetch)

    async def later() -> object:
        await asyncio.sleep(0)
        return await loader.load("b")

    assert await asyncio.gather(*[loader.load("a"), later()]) == ["A", "B"]
    assert upstream.calls == [["a", "b"]]


async def test_a_call_has_no_more_keys_than_the_gateway_takes() -> None:
    """More are fetched in several calls, whose rows come together."""
    upstream = Upstream()
    keys = [f"k{number}" for number in range(2 * BATCH_SIZE + 1)]
    found = await Loader(upstream.fetch).load_many(keys)
    assert [len(call) for call in upstream.calls] == [BATCH_SIZE, BATCH_SIZE, 1]
    assert list(found) == keys


async def test_a_call_that_fails_fails_for_all_who_wait() -> None:
    """And is not made again for a key that was in it."""
    upstream = Upstream()
    upstream.failure = ConnectionError("away")
    loader = Loader(upstream.fetch)
    outcomes = await asyncio.gather(*map(loader.load, "ab"), return_exceptions=True)
    assert outcomes == [upstream.failure, upstream.failure]
    with pytest.raises(ConnectionError):
        await loader.load("a")
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("which", [0, 1])
async def test_a_field_that_is_cancelled_leaves_the_others_their_rows(which: int) -> None:
    """Be it the one that fetches or one that waits; and its own key can still be had."""
    upstream = Upstream()
    upstream.held = asyncio.Event()
    loader = Loader(upstream.fetch)
    fields = [asyncio.create_task(loader.load(key)) for key in ("a", "b")]
    await upstream.called.wait()
    fields[which].cancel()
    with pytest.raises(asyncio.CancelledError):
        await fields[which]
    upstream.held.set()
    assert await fields[1 - which] == "BA"[which]
    assert await asyncio.gather(*map(loader.load, "ab")) == ["A", "B"]
