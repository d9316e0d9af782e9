"""What a shop of real processes stands on: the embedded default, or RabbitMQ with PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from chassis.broker.port import Topology
from chassis.settings import TOPOLOGY
from tests.conftest import own_postgres
from tests.journey.conftest import BOTH
from tests.rabbitmq import own_rabbitmq


@pytest.fixture(params=BOTH)
async def engines(request: pytest.FixtureRequest) -> AsyncIterator[dict[str, str]]:
    """The settings of a broker and databases of the test's own."""
    async with AsyncExitStack() as stack:
        env = {}
        if request.param != "embedded":
            env["SHOP_BROKER_URL"] = await stack.enter_async_context(own_rabbitmq(Topology.load(TOPOLOGY)))
            env["SHOP_DATABASE_URL"] = await stack.enter_async_context(own_postgres())
        yield env
