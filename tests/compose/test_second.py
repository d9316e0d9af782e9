"""A second composed shop beside the first, as it is and with its event log on Kafka (nightly)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
import pytest_asyncio

from tests.compose.sockets import Customer
from tests.compose.stack import Stack, composed, configured_stack, engine
from tests.waiting import eventually

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not os.environ.get("TEST_NIGHTLY"),
        reason="not run: starts further composed shops, TEST_NIGHTLY=1 make compose-test",
    ),
]

SECOND = "deploy/compose/second/env"
KAFKA = "deploy/compose/kafka/env"
LIST_TOPICS = ["/opt/kafka/bin/kafka-topics.sh", "--bootstrap-server", "kafka:9092", "--list"]


@pytest_asyncio.fixture(loop_scope="session")
async def on_kafka() -> AsyncIterator[Stack]:
    """A second copy with Kafka. `TEST_EVENT_LOG_URL` is for a stand-in that lacks something of Apache Kafka."""
    if reason := engine():
        pytest.fail(reason)
    stack = configured_stack(SECOND, KAFKA)
    if other := os.environ.get("TEST_EVENT_LOG_URL"):
        stack = replace(stack, settings={"SHOP_EVENT_LOG_URL": other})
    async with composed(stack, "kafka") as second:
        yield second


async def test_second_copy_runs_beside_the_first(stack: Stack) -> None:
    """Both ship their orders at the same time, and neither has the other's."""
    async with composed(configured_stack(SECOND)) as second:
        orders = {shop.project: await shop.place() for shop in (stack, second)}
        for shop in (stack, second):
            await shop.reaches(orders[shop.project], "shipped")
            (other,) = (order for project, order in orders.items() if project != shop.project)
            async with shop.client() as http:
                response = await http.get(f"/v1/orders/{other}", headers=await shop.bearer())
            assert response.status_code == httpx.codes.NOT_FOUND
            await shop.books_agree()


async def test_event_log_on_kafka(on_kafka: Stack) -> None:
    """The topic is Kafka's, and a customer's WebSocket and the sales report get an order's events from it."""
    topics = await on_kafka.compose("exec", "-T", "kafka", *LIST_TOPICS)
    assert "shop.events" in topics
    customer = Customer(on_kafka)
    async with customer.connected():
        order_id = await on_kafka.place()
        await customer.sees_shipped(order_id)
    admin = await on_kafka.bearer("admin@shop.test", "admin")
    async with on_kafka.client() as http:

        async def reported() -> bool:
            response = await http.get("/v1/reports/sales", headers=admin)
            assert response.status_code == httpx.codes.OK, response.text
            return bool(response.json()["items"])

        await eventually(reported, within=60)
    await on_kafka.books_agree()
