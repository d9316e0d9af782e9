"""One shop for all journeys of a module, on the embedded default and on RabbitMQ with PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from chassis.broker.port import Topology
from chassis.settings import TOPOLOGY
from tests.conftest import own_postgres
from tests.rabbitmq import own_rabbitmq
from tests.shop import Shop, shop_in_one_loop

BOTH = [
    "embedded",
    pytest.param("rabbitmq+postgresql", marks=[pytest.mark.rabbitmq, pytest.mark.postgres]),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=BOTH)
async def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        env = {}
        if request.param != "embedded":
            env["SHOP_BROKER_URL"] = await stack.enter_async_context(own_rabbitmq(Topology.load(TOPOLOGY)))
            env["SHOP_DATABASE_URL"] = await stack.enter_async_context(own_postgres())
        yield await stack.enter_async_context(shop_in_one_loop(tmp_path_factory.mktemp("shop"), env))
