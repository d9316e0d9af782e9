"""Every order counts once, whatever dies and whatever is repeated, over every event log."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import islice

import orjson
import pytest

from tests.reports.conftest import Copy, Log, said
from tests.reports.orders import Order, life, lives, revenue, several
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(180)


async def counted(copy: Copy, orders: Sequence[Order]) -> None:
    """Wait until the report has these orders, and make sure that it has nothing else."""
    expected = (sum(order.ends == "paid" for order in orders), revenue(orders))

    async def told() -> bool:
        found = await copy.totals()
        assert found == expected
        return True

    await eventually(told, within=60)


async def test_paid_orders_are_sales(log: Log) -> None:
    """A report has what was paid, by day, product and customer, from before it started and from then on."""
    before = [Order("42", 2), Order("7", 1, user_id="456", price="349.00"), Order("42", ends="cancelled")]
    await log.append(lives(before))
    copy = await log.copy()
    after = [Order("42", 1, user_id="456"), Order("8", ends="rejected"), Order("8", ends="placed")]
    await log.append(lives(after))
    await counted(copy, [*before, *after])
    found = await copy.sales("product")
    by_product = [(row.key, row.name, row.orders, row.quantity, row.revenue) for row in found.rows]
    assert by_product == [("7", "Product 7", 1, 1, "349.00"), ("42", "Product 42", 2, 3, "267.00")]
    by_customer = [(row.key, row.orders, row.revenue) for row in (await copy.sales("customer")).rows]
    assert by_customer == [("456", 2, "438.00"), ("123", 1, "178.00")]


async def test_a_repeated_event_counts_once(log: Log) -> None:
    """Events that are in the log twice, one by one or a whole life, change nothing."""
    copy = await log.copy()
    orders = several(20)
    events = lives(orders)
    await log.append([each for event in events for each in (event, event)])
    await log.append(events)
    end = Order()
    await log.append(life(end))
    await counted(copy, [*orders, end])


async def test_a_copy_that_dies_between_effect_and_commit_has_counted_nothing(log: Log) -> None:
    """What it had not committed is counted by the next copy, once."""
    orders = several(10)
    await log.append(lives(orders))
    process = await log.spawn("hang")
    lines = {await said(process), await said(process)}
    assert "hanging" in lines
    process.kill()
    await process.wait()
    await counted(await log.copy(), orders)


async def test_copies_that_are_killed_under_way_lose_and_double_nothing(log: Log) -> None:
    """One copy after the other is killed at any moment while orders come, and the report is exact in the end."""
    orders = several(120)
    events = iter(lives(orders))
    chance = random.Random(7)  # noqa: S311 - the same moments each time
    copies = [await log.copy(), await log.copy()]
    while batch := list(islice(events, 60)):
        await log.append(batch)
        if chance.random() < 0.5:
            await copies.pop(0).kill()
            copies.append(await log.copy())
    await counted(copies[0], orders)


async def test_copies_share_the_log_and_take_over_from_one_another(log: Log) -> None:
    """With two copies the log's partitions are spread over both; when one is killed, the other reads all of them."""
    first, second = await log.copy(), await log.copy()
    orders = several(40)
    await log.append(lives(orders))
    await counted(second, orders)
    await first.kill()
    more = several(40)
    await log.append(lives(more))
    await counted(second, [*orders, *more])


async def test_an_event_that_breaks_its_contract_holds_nothing_up(log: Log) -> None:
    """It is logged and passed over; its order is named as one whose content is unknown once it is paid."""
    copy = await log.copy()
    placed, *rest = life(Order())
    line = {"product_id": "42", "name": "Product 42", "quantity": 2}
    contents = (
        b'{"items": 5}',
        *(orjson.dumps({"items": [{**line, "unit_price": price}]}) for price in ("9e999999", "1e20")),
        orjson.dumps({"items": [{**line, "name": "\0", "unit_price": "1.00"}]}),
    )
    broken = [replace(placed, id=f"broken-{number}", data=data) for number, data in enumerate(contents)]
    good = Order("7")
    await log.append([*broken, *rest, *life(good)])
    await counted(copy, [good])
    assert (await copy.sales()).unknown_orders == 1


async def test_a_payment_that_comes_before_its_order_is_counted_with_it(log: Log) -> None:
    """Until the log says what was in the order it counts as unknown."""
    copy = await log.copy()
    placed, *rest = life(Order("7", price="349.00"))
    await log.append(rest)

    async def unknown() -> int:
        return (await copy.sales()).unknown_orders

    await eventually(unknown)
    assert await copy.totals() == (0, Decimal("0.00"))
    await log.append([placed])
    await eventually(lambda: _is(copy, (1, Decimal("349.00"))))
    assert await unknown() == 0


async def _is(copy: Copy, expected: tuple[int, Decimal]) -> bool:
    return await copy.totals() == expected
