"""One order crosses every boundary, and ends as it should whatever happens on the way."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest
import websockets

from chassis.settings import environment
from shop.audit import Settings, audit_running_shop
from tests.shop import Shop
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

ARTICLES_QUERY = """
query {
  user(id: "123") {
    name
    email
    orders {
      id
      total
      items {
        product {
          name
          price
        }
      }
    }
  }
}
"""


async def reaches(shop: Shop, order_id: str, status: str) -> None:
    async def there() -> bool:
        return await shop.status(order_id) == status

    await eventually(there, within=60)


async def shipped(shop: Shop, *items: tuple[str, int]) -> dict[str, Any]:
    response = await shop.place(*items, key=uuid.uuid4().hex)
    assert response.status_code == 202, response.text
    await reaches(shop, response.json()["id"], "shipped")
    order: dict[str, Any] = response.json()
    return order


async def books_agree(shop: Shop) -> None:
    with environment(shop.around.shared):
        settings = Settings()
    report = await audit_running_shop(settings, wait=60)
    assert report.differences == []
    assert list(report.in_flight) == []


async def mails_of(shop: Shop, order_id: str) -> list[dict[str, Any]]:
    url = shop.address("SHOP_MAIL_URL")
    found: list[dict[str, Any]] = (await shop.http.get(f"{url}/mails", params={"order_id": order_id})).json()
    return found


async def test_order_is_accepted_pending_with_its_location(shop: Shop) -> None:
    """An order is answered with 202, its place and its price before anything else is done for it."""
    response = await shop.place(("42", 1), ("123", 2))
    assert response.status_code == 202
    order = response.json()
    assert response.headers["location"] == f"/v1/orders/{order['id']}"
    assert order["status"] == "pending"
    assert order["total"] == "187.00"
    assert order["currency"] == "EUR"
    await reaches(shop, order["id"], "shipped")


async def test_history_tells_each_step_once(shop: Shop) -> None:
    """A shipped order's history is placed, confirmed, paid, shipped, without gaps."""
    order = await shipped(shop, ("42", 1))
    response = await shop.http.get(f"/v1/orders/{order['id']}/events", headers=await shop.bearer())
    events = response.json()["items"]
    assert [event["type"] for event in events] == ["order.placed", "order.confirmed", "order.paid", "order.shipped"]
    assert [event["sequence"] for event in events] == [1, 2, 3, 4]


async def test_customer_is_mailed_once_for_each_step_that_matters(shop: Shop) -> None:
    """A shipped order brings one mail for `confirmed` and one for `shipped`, to the customer."""
    order = await shipped(shop, ("20", 1))

    async def both() -> list[dict[str, Any]]:
        mails = await mails_of(shop, order["id"])
        return mails if len(mails) >= 2 else []

    mails = await eventually(both)
    assert sorted(mail["kind"] for mail in mails) == ["confirmed", "shipped"]
    assert all("demo@shop.test" in mail["to"] for mail in mails)


async def test_graphql_answers_the_articles_query(shop: Shop) -> None:
    """The articles' query works word for word."""
    response = await shop.http.post("/graphql", json={"query": ARTICLES_QUERY}, headers=await shop.bearer())
    answer = response.json()
    assert "errors" not in answer, answer
    user = answer["data"]["user"]
    assert (user["name"], user["email"]) == ("Demo Customer", "demo@shop.test")
    oldest = user["orders"][-1] if len(user["orders"]) < 20 else None
    assert oldest is None or oldest["id"] == "123"
    assert all(item["product"]["price"] for order in user["orders"] for item in order["items"])


async def test_customers_websocket_sees_every_step(shop: Shop) -> None:
    """Every `order.*` event of an order reaches the customer's open WebSocket, in order."""
    url = shop.address("SHOP_NOTIFIER_URL").replace("http", "ws") + "/notifications"
    async with websockets.connect(url, additional_headers=await shop.bearer(), open_timeout=60) as socket:
        await socket.send(json.dumps({"action": "subscribe", "topics": ["order.*"]}))
        async with asyncio.timeout(20):
            frame = json.loads(await socket.recv())
            while frame["type"] != "subscribed":
                frame = json.loads(await socket.recv())
            order_id = (await shop.place(("42", 1))).json()["id"]
            seen: list[str] = []
            while "order.shipped" not in seen:
                frame = json.loads(await socket.recv())
                if frame.get("subject") == order_id:
                    seen.append(frame["type"])
    assert seen == ["order.placed", "order.confirmed", "order.paid", "order.shipped"]


async def test_one_trace_holds_the_whole_order(shop: Shop) -> None:
    """From the REST request to the last mail, every hop of an order is in one trace."""
    response = await shop.place(("42", 1))
    trace_id = response.headers["traceparent"].split("-")[1]
    await reaches(shop, response.json()["id"], "shipped")
    url = shop.address("SHOP_CONSOLE_URL")
    wanted = {"REST", "gRPC", "SOAP", "HTTP", "webhook", "SMTP"}
    services = {"gateway", "orders", "catalog", "inventory", "order_worker", "erp_adapter", "webhooks", "mailer"}

    async def whole() -> bool:
        found = await shop.http.get(f"{url}/api/traces/{trace_id}")
        if found.status_code != 200:
            return False
        spans = found.json()["spans"]
        assert wanted <= {span["protocol"] for span in spans}
        assert services <= {span["service"] for span in spans}
        assert {"queue", "AMQP"} & {span["protocol"] for span in spans}
        shipped_mail = [span for span in spans if span["service"] == "mailer" and span["protocol"] == "SMTP"]
        assert len(shipped_mail) == 2
        return True

    await eventually(whole, within=60)


async def test_order_beyond_the_stock_is_rejected_and_undone(shop: Shop) -> None:
    """An order for more than there is ends `rejected` with a reason, and nothing stays reserved or registered."""
    response = await shop.place(("7", 4))
    assert response.status_code == 202
    order_id = response.json()["id"]
    await reaches(shop, order_id, "rejected")
    assert "7" in (await shop.order(order_id))["status_reason"]
    await books_agree(shop)
    available = (await shop.http.get("/v1/products/7/availability")).json()
    assert available["available"] == 3
    assert available["stale"] is False


async def test_order_refused_by_the_erp_is_rejected_and_undone(shop: Shop) -> None:
    """An order over the ERP's credit limit ends `rejected`, and its reservation is given back."""
    response = await shop.place(("4", 60))
    order_id = response.json()["id"]
    await reaches(shop, order_id, "rejected")
    await books_agree(shop)
    assert (await shop.http.get("/v1/products/4/availability")).json()["available"] == 100


async def test_cancelled_order_is_undone(shop: Shop) -> None:
    """An order that the customer cancels in time ends `cancelled`, and the books agree."""
    response = await shop.place(("21", 1))
    order_id = response.json()["id"]
    cancelled = await shop.http.post(f"/v1/orders/{order_id}/cancel", headers=await shop.bearer())
    assert cancelled.status_code in (202, 409)
    await reaches(shop, order_id, "cancelled" if cancelled.status_code == 202 else "shipped")
    await books_agree(shop)


async def test_shipped_order_cannot_be_cancelled(shop: Shop) -> None:
    """It is too late to cancel what was shipped: 409."""
    order = await shipped(shop, ("22", 1))
    response = await shop.http.post(f"/v1/orders/{order['id']}/cancel", headers=await shop.bearer())
    assert response.status_code == 409
    assert response.json()["code"] == "TOO_LATE_TO_CANCEL"


async def test_failed_payment_rejects_the_order_and_undoes_it(shop: Shop) -> None:
    """When the payment provider reports a failed payment, the order ends `rejected` and everything is given back."""
    price = {"price": "10.03"}  # an amount for which the payment provider's stand-in reports a failure
    admin = await shop.bearer("admin@shop.test", "admin")
    before = await shop.http.get("/v1/products/9")
    assert (await shop.http.patch("/v1/products/9", json=price, headers=admin)).status_code == 200
    try:
        response = await shop.place(("9", 1))
        await reaches(shop, response.json()["id"], "rejected")
    finally:
        await shop.http.patch("/v1/products/9", json={"price": before.json()["price"]}, headers=admin)
    assert "payment" in (await shop.order(response.json()["id"]))["status_reason"]
    await books_agree(shop)


async def test_books_agree_after_all_of_it(shop: Shop) -> None:
    """Many orders at once leave exactly one of everything each, and all stock accounted for."""
    responses = await asyncio.gather(*(shop.place(("1", 1), ("2", 2)) for _ in range(10)))
    assert [response.status_code for response in responses] == [202] * 10
    for response in responses:
        await reaches(shop, response.json()["id"], "shipped")
    await books_agree(shop)
