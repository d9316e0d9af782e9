"""`shop up --lab`: every arrow of the architecture picture is a link of its own, which can be broken alone."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from chassis.broker.port import Topology
from chassis.settings import TOPOLOGY
from shop.errors import Refused
from shop.fault.links import plan
from shop.fault.links.client import Links
from shop.fault.links.plan import socket_path
from shop.fault.links.toxics import parse
from shop.process_table import TABLE
from tests.conftest import own_postgres
from tests.rabbitmq import own_rabbitmq
from tests.shop import surroundings
from tests.system.real_shop import RealShop, real_shop
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(240)
with_the_shop = pytest.mark.asyncio(loop_scope="module")
BROKER = {"SHOP_BROKER_URL": "amqp://u:p@127.0.0.1:5672/v?prefix=x."}
DATABASE = {"SHOP_DATABASE_URL": "postgresql://postgres@127.0.0.1:5432/shop_{service}"}


def test_every_arrow_has_a_link(tmp_path: Path) -> None:
    """With servers for the broker and the databases; what a partner's URL leads to is the partner's."""
    made = plan.plan(
        TABLE, surroundings(tmp_path, {**BROKER, **DATABASE, "SHOP_RATE_LIMIT_URL": "redis://127.0.0.1/0"})
    )
    wanted = {arrow.name for arrow in plan.arrows() if arrow.source != "operator"} - {"webhook_worker->partners"}
    assert {link.name for link in made.links} == wanted
    assert len({link.listen for link in made.links}) == len(made.links)
    assert made.own["orders"]["SHOP_BROKER_URL"].startswith("amqp://u:p@127.0.0.1:")
    assert made.own["orders"]["SHOP_BROKER_URL"].endswith("/v?prefix=x.")
    assert made.own["orders"]["SHOP_DATABASE_URL"].endswith("/shop_{service}")
    assert made.own["orders"]["SHOP_BROKER_URL"] != made.own["catalog"]["SHOP_BROKER_URL"]


def test_files_have_no_links(tmp_path: Path) -> None:
    """The embedded broker and SQLite are files: nothing leads there."""
    made = plan.plan(TABLE, surroundings(tmp_path))
    assert {link.target for link in made.links} & {"broker", "database", "redis"} == set()


def test_no_lab_in_production(tmp_path: Path) -> None:
    """`shop up --lab` is refused, and says why."""
    with pytest.raises(Refused, match="SHOP_ENV=production"):
        plan.routed(TABLE, surroundings(tmp_path, {"SHOP_ENV": "production"}))


@pytest_asyncio.fixture(
    loop_scope="module",
    scope="module",
    params=["embedded", pytest.param("rabbitmq+postgresql", marks=[pytest.mark.rabbitmq, pytest.mark.postgres])],
)
async def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealShop]:
    async with AsyncExitStack() as stack:
        env: dict[str, str] = {}
        if request.param != "embedded":
            env["SHOP_BROKER_URL"] = await stack.enter_async_context(own_rabbitmq(Topology.load(TOPOLOGY)))
            env["SHOP_DATABASE_URL"] = await stack.enter_async_context(own_postgres())
        yield await stack.enter_async_context(real_shop(tmp_path_factory.mktemp("lab"), env, lab=True))


async def shipped(shop: RealShop) -> str:
    answer = await shop.place(("3", 1))
    assert answer.status_code == 202, answer.text
    order_id = str(answer.json()["id"])

    async def there() -> bool:
        return await shop.status(order_id) == "shipped"

    await eventually(there, within=60)
    return order_id


@pytest.mark.system
@with_the_shop
async def test_an_order_crosses_links_only(shop: RealShop) -> None:
    """After one order, the links of its journey have carried it."""
    await shipped(shop)
    with Links(shop.around.data_dir) as links:
        carried = {name for name, link in links.all(600).items() if link.recent}
    journey = {"client->gateway", "gateway->orders", "orders->catalog", "catalog->inventory", "order_worker->inventory"}
    journey |= {"order_worker->erp_adapter", "erp_adapter->legacy_soap", "order_worker->payment_provider"}
    journey |= {"payment_provider->webhooks", "webhook_worker->orders", "mailer->smtp_sink", "mailer->users"}
    if "SHOP_DATABASE_URL" in shop.around.shared:
        names = ("orders", "order_worker", "webhook_worker", "notifier", "mailer")
        journey |= {f"{name}->broker" for name in names} | {"orders->database", "inventory->database"}
    assert journey - carried == set()


@pytest.mark.system
@with_the_shop
async def test_one_arrow_is_cut_and_no_other(shop: RealShop) -> None:
    """Without gateway->catalog there are no products; orders still get theirs over orders->catalog."""
    await shop.token()
    with Links(shop.around.data_dir) as links:
        fault = links.set(["gateway->catalog"], parse(["refuse"]), 60)
        assert (await shop.http.get("/v1/products?q=nothing-cached")).status_code == 503
        await shipped(shop)
        links.end(fault)

        async def back() -> bool:
            return (await shop.http.get("/v1/products?q=nothing-cached-either")).status_code == 200

        await eventually(back, within=30)


@pytest.mark.system
@with_the_shop
async def test_the_control_socket_is_its_owners(shop: RealShop) -> None:
    """No other user of the machine, and no web page, can break the shop."""
    mode = await asyncio.to_thread(os.stat, socket_path(shop.around.data_dir))
    assert stat.S_IMODE(mode.st_mode) == 0o600


@pytest.mark.system
@with_the_shop
async def test_unknown_links_are_refused_with_the_known_ones(shop: RealShop) -> None:
    """And a shop without a lab says how to get one."""
    with Links(shop.around.data_dir) as links, pytest.raises(Refused, match=r"known links: .*gateway->orders"):
        links.set(["gateway->ordres"], parse(["reset"]), 1)
    with Links(shop.around.data_dir / "elsewhere") as none, pytest.raises(Refused, match="shop up --lab"):
        none.all()


@pytest.mark.system
@with_the_shop
async def test_a_watched_link_shows_an_orders_frames(shop: RealShop) -> None:
    """gRPC that was connected long before is read, too: the order's trace is found in the head of its stream."""
    await shipped(shop)
    with Links(shop.around.data_dir) as links:
        await asyncio.to_thread(links.watch, "gateway->orders", 60)
        answer = await shop.place(("3", 1))
        trace = answer.headers["traceparent"].split("-")[1]

        def seen() -> list[str]:
            return [each["what"] for each in links.frames("gateway->orders", trace)]

        await eventually(lambda: any(what.startswith("DATA") for what in seen()))
        frames = links.frames("gateway->orders", trace)
    head = dict(frames[0]["fields"])
    assert head[":path"].endswith("OrderService/PlaceOrder")
    assert set(head["authorization"]) <= {"*"}
    assert {each["direction"] for each in frames} == {"request", "answer"}
