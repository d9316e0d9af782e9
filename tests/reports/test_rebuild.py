"""A rebuild reads the log again beside the figures that are served, and takes their place once it is complete."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from chassis import wall_clock
from chassis.broker import connect
from chassis.broker.retention import Retention
from services.reports.sql_store import tables
from services.reports.sql_store.generations import Generations
from tests.contract.databases import opened, url_of
from tests.contract.events import an_event
from tests.reports.conftest import SHOP_TOPOLOGY, Copy, Log, log_of
from tests.reports.orders import Order, life, lives, revenue, several
from tests.reports.test_counting import counted
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(180)


async def complete(copy: Copy, generation: int) -> bool:
    found = await copy.newest()
    return found.generation == generation and found.complete


async def test_the_old_figures_are_served_until_the_new_ones_are_complete(log: Log) -> None:
    """While orders keep coming, no report during a rebuild has fewer sales than one before; the end is exact."""
    copy, other = await log.copy(), await log.copy()
    before = several(150)
    await log.append(lives(before))
    await counted(copy, before)
    more = several(60)

    async def traffic() -> None:
        for order in more:
            await log.append(life(order))

    seen = [await copy.totals()]
    async with asyncio.TaskGroup() as group:
        group.create_task(traffic())
        rebuild = await copy.rebuild()
        assert (rebuild.generation, rebuild.complete) == (2, False)
        while not await complete(copy, 2):
            seen.append(await copy.totals())
    seen.append(await other.totals())
    assert seen == sorted(seen)
    await counted(copy, [*before, *more])
    await counted(other, [*before, *more])


async def test_a_rebuild_that_is_killed_goes_on(log: Log) -> None:
    """When every copy dies in the middle of it, the next one ends it."""
    orders = several(300)
    await log.append(lives(orders))
    copy = await log.copy()
    await counted(copy, orders)
    await copy.rebuild()
    await copy.kill()
    heir = await log.copy()
    assert (await heir.newest()).generation == 2
    await eventually(lambda: complete(heir, 2), within=60)
    await counted(heir, orders)


async def test_a_repeat_starts_no_other_rebuild(database_url: str, tmp_path: Path) -> None:
    """While one is under way, a request for another returns that one."""
    broker = await connect(f"embedded:{tmp_path / 'broker.sqlite'}", SHOP_TOPOLOGY)
    async with opened("reports", url_of("reports", database_url, tmp_path)) as db:
        generations = Generations(db, broker.log, asyncio.Event())
        assert await generations.groups() == ["sales-1"]
        first, second = await asyncio.gather(generations.start(), generations.start())
        assert (first, first.generation, first.complete) == (second, 2, False)
    await broker.close()


async def test_a_rebuild_may_be_the_first_request(database_url: str, tmp_path: Path) -> None:
    """Before a copy has begun to read, each of several requests for one begins the first generation and the second."""
    broker = await connect(f"embedded:{tmp_path / 'broker.sqlite'}", SHOP_TOPOLOGY)
    async with opened("reports", url_of("reports", database_url, tmp_path)) as db:
        generations = Generations(db, broker.log, asyncio.Event())
        # An empty log is rebuilt at once, and the next request begins another generation.
        await broker.log.append([an_event()])
        asked = asyncio.gather(*[generations.start() for _ in range(4)])
        started, groups = await asyncio.gather(asked, generations.groups())
        assert {(each.generation, each.complete) for each in started} == {(2, False)}
        assert groups[0] == "sales-1"
        assert await generations.groups() == ["sales-1", "sales-2"]
        assert not (await generations.newest()).complete
    await broker.close()


async def test_a_rebuild_ends_after_the_log_has_moved(database_url: str, tmp_path: Path) -> None:
    """What was read of another kind of log before is not waited for: this one will never have it."""
    broker = await connect(f"embedded:{tmp_path / 'broker.sqlite'}", SHOP_TOPOLOGY)
    async with opened("reports", url_of("reports", database_url, tmp_path)) as db:
        generations = Generations(db, broker.log, asyncio.Event())
        await generations.groups()
        await broker.log.append([an_event()])
        await generations.start()
        row = {"first_at": None, "last_at": None, "gap_at": None, "owner": "", "leased_until": wall_clock.now()}
        places = [("sales-1", 0, "former", 500), ("sales-2", 0, broker.log.system, 1)]
        names = ("consumer_group", "partition", "log", "read")
        rows = [{**row, **dict(zip(names, place, strict=True))} for place in places]
        await db.write(lambda connection: connection.execute(insert(tables.group[0]), rows))
        assert await generations.groups() == ["sales-2"]
        assert (await generations.newest()).complete
    await broker.close()


async def test_an_empty_log_is_rebuilt(embedded: Log) -> None:
    """Nothing to read is complete at once."""
    copy = await embedded.copy()
    await copy.rebuild()
    await eventually(lambda: complete(copy, 2))
    assert await copy.totals() == (0, Decimal("0.00"))


async def test_nothing_is_left_of_the_old_figures(embedded: Log, tmp_path: Path) -> None:
    """Once the new figures are served, the rows of the old ones are deleted; another rebuild can follow."""
    copy = await embedded.copy()
    orders = several(30)
    await embedded.append(lives(orders))
    await counted(copy, orders)
    for generation in (2, 3):
        await copy.rebuild()
        await eventually(partial(complete, copy, generation))
    url = url_of("reports", embedded.env["SHOP_DATABASE_URL"], tmp_path)
    async with opened("reports", url) as db:
        for table in (tables.orders, tables.figures):

            async def only_the_newest(column: Any = table.c.generation) -> bool:
                rows = await db.read(lambda connection: connection.execute(select(column)).scalars().all())
                return set(rows) == {3}

            await eventually(only_the_newest)
        groups = select(tables.group[0].c.consumer_group)

        async def left() -> bool:
            return set(await db.read(lambda connection: connection.execute(groups).scalars().all())) == {"sales-3"}

        await eventually(left)
    await counted(copy, orders)


async def test_what_the_log_no_longer_has_is_said(tmp_path: Path) -> None:
    """A rebuild has what is left, and says since when; events that were lost unread are said, too."""
    async with log_of("embedded", tmp_path) as log:
        forgetful = await connect(log.env["SHOP_BROKER_URL"], SHOP_TOPOLOGY, retention=Retention(events=400))
        log.stack.push_async_callback(forgetful.close)
        copy = await log.copy()
        first = Order()
        await log.append(life(first))
        await counted(copy, [first])
        since = (await copy.sales()).since.ToDatetime()
        later = several(250)
        events = lives(later)
        for begin in range(0, len(events), 50):
            await forgetful.log.append(events[begin : begin + 50])
            if begin % 200 == 150:
                await counted(copy, [first, *later[: (begin + 50) // 4]])
        await counted(copy, [first, *later])
        whole = await copy.sales()
        assert (whole.since.ToDatetime(), whole.HasField("gap_at")) == (since, False)
        await copy.rebuild()
        await eventually(lambda: complete(copy, 2))
        count, money = await copy.totals()
        assert 0 < count < 251
        assert money < revenue([first, *later])
        assert not (await copy.sales()).HasField("gap_at")
        await copy.kill()
        unread = lives(several(300))
        for begin in range(0, len(unread), 50):
            await forgetful.log.append(unread[begin : begin + 50])
        heir = await log.copy()

        async def told() -> bool:
            return (await heir.sales()).HasField("gap_at")

        await eventually(told)
        await eventually(lambda: _more(heir, count))


async def _more(copy: Copy, than: int) -> bool:
    return (await copy.totals())[0] > than
