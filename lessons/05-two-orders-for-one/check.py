"""What the partner sends twice has one effect, and what it sends once has one, too."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import random
import secrets
from urllib.parse import urlsplit

import httpx

from lessons import kit
from lessons.kit import FAULT, Broken, Process, Shop, Void

RECEIVER = os.environ["SHOP_WEBHOOKS_URL"]
COPIES, ROUNDS = 20, 2
COPIES = 2 if FAULT else 1
# Seconds in which a second order would show, once one that came later has.
GRACE = 1.0


class Order:
    """An order at the channel. Its quantity is its own, so that its orders here can be distinguished from all others.

    `before` are those that were here when the check began: an earlier one may have had the same quantity.
    """

    before: frozenset[str] = frozenset()
    quantities = random.sample(range(100, 1_000), 20)

    def __init__(self, quantity: int = 0) -> None:
        self.id = str(random.randrange(10**9, 10**10))
        self.quantity = quantity or Order.quantities.pop()

    def announcement(self, event_id: str) -> tuple[bytes, dict[str, str]]:
        """The event that announces it, signed."""
        body = json.dumps({"id": int(self.id), "line_items": [{"sku": "42", "quantity": self.quantity}]}).encode()
        key = os.environ["SHOP_WEBHOOK_SECRET_SHOPIFY"].encode()
        return body, {
            "Content-Type": "application/json",
            "X-Shopify-Topic": "orders/create",
            "X-Shopify-Webhook-Id": event_id,
            "X-Shopify-Hmac-Sha256": base64.b64encode(hmac.new(key, body, hashlib.sha256).digest()).decode(),
        }

    async def deliver(self, shop: Shop, event_id: str) -> httpx.Response:
        body, headers = self.announcement(event_id)
        answer = await shop.http.post(f"{RECEIVER}/webhooks/shopify", content=body, headers=headers)
        if not answer.is_success:
            raise Broken(f"Shopify's event of order {self.id} was answered {answer.status_code}, so it will come again")
        return answer

    async def deliver_at_once(self, event_id: str, count: int) -> None:
        """So many deliveries that arrive together: each lacks its last byte until all others do, too."""
        body, headers = self.announcement(event_id)
        receiver = urlsplit(RECEIVER)
        fields = {"Host": receiver.netloc, "Content-Length": str(len(body)), "Connection": "close", **headers}
        head = "\r\n".join(["POST /webhooks/shopify HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())])
        connections = [await asyncio.open_connection(receiver.hostname, receiver.port) for _ in range(count)]
        for _, writer in connections:
            writer.write(f"{head}\r\n\r\n".encode() + body[:-1])
            await writer.drain()
        for _, writer in connections:
            writer.write(body[-1:])
        for reader, writer in connections:
            answer = await reader.read()
            writer.close()
            if b" 200 " not in answer[:20]:
                raise Broken(f"Shopify's event of order {self.id} was answered {answer[:12]!r}, so it will come again")

    async def placed(self, shop: Shop) -> list[str]:
        """Our orders for it, by id."""
        return [
            order["id"]
            for order in await newest(shop)
            if order["items"][0]["quantity"] == self.quantity and order["id"] not in Order.before
        ]


async def newest(shop: Shop) -> list[kit.Hop]:
    """The channel's newest orders."""
    mine = await shop.bearer("channel@shop.test")
    found: list[kit.Hop] = (await shop.get("/v1/orders", mine, limit=100)).raise_for_status().json()["items"]
    return found


async def processed(shop: Shop) -> None:
    """An order that comes now has been placed: so has what came before it, but for a moment."""
    marker = Order()
    await marker.deliver(shop, secrets.token_hex(16))
    if not await kit.eventually(lambda: marker.placed(shop), within=10):
        raise Broken(f"Shopify's order {marker.id} was announced once, and no order was placed for it")


async def not_twice(shop: Shop, order: Order, sentence: str, *, within: float = GRACE) -> None:
    """There comes no second order for it. `sentence` says what was done, with the number in it."""
    await processed(shop)

    async def too_many() -> list[str]:
        found = await order.placed(shop)
        return found if len(found) > 1 else []

    if found := await kit.eventually(too_many, within=within):
        raise Broken(
            sentence.format(id=order.id, count=len(found)), f"The orders: {', '.join(each[:8] for each in found)}"
        )


async def check(shop: Shop) -> str:
    Order.before = frozenset(order["id"] for order in await newest(shop))
    order, event = Order(), secrets.token_hex(16)
    answers = [await order.deliver(shop, event) for _ in range(COPIES)]
    if len(answers) < COPIES or COPIES == 1:
        raise Void("no event was delivered twice, so nothing is known of repeats")
    await not_twice(shop, order, "Shopify delivered the event of order {id} twice, and it became {count} orders")
    await at_once(shop)
    await equal_orders(shop)
    await after_a_restart(shop)
    await order.deliver(shop, secrets.token_hex(16))
    await not_twice(
        shop, order, "Shopify announced order {id} again under a new event id, and it became a second order"
    )
    await same_push(shop)
    return "One order at the channel is one order here, however often, how many at once and by which event it is told."


async def at_once(shop: Shop) -> None:
    for _ in range(ROUNDS):
        order, event = Order(), secrets.token_hex(16)
        await order.deliver_at_once(event, COPIES)
        await not_twice(
            shop, order, f"{COPIES} deliveries at once of the event of order {{id}} made {{count}} orders", within=0.3
        )


async def equal_orders(shop: Shop) -> None:
    """Two orders for the same thing are two."""
    first = Order()
    second = Order(first.quantity)
    for order in (first, second):
        await order.deliver(shop, secrets.token_hex(16))

    async def both() -> bool:
        return len(await first.placed(shop)) == COPIES

    await processed(shop)
    if not await kit.eventually(both, within=kit.LIMIT / 3):
        raise Broken(
            f"Two customers ordered the same thing, orders {first.id} and {second.id}, and one of them got nothing"
        )


async def same_push(shop: Shop) -> None:
    """GitHub's pushes are repeated, too; they place no order, and have no id but the event's."""
    event = secrets.token_hex(16)
    body = b'{"ref":"refs/heads/main"}'
    key = os.environ["SHOP_WEBHOOK_SECRET_GITHUB"].encode()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": event,
        "X-Hub-Signature-256": f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}",
    }

    async def refreshed() -> str:
        answer = await shop.get("/v1/products/123", {"Cache-Control": "no-cache"})
        return str(answer.raise_for_status().json()["updated_at"])

    async def push() -> None:
        answer = await shop.http.post(f"{RECEIVER}/webhooks/github", content=body, headers=headers)
        answer.raise_for_status()

    before = await refreshed()
    await push()
    first = before

    async def applied() -> bool:
        nonlocal first
        first = await refreshed()
        return first != before

    if not await kit.eventually(applied):
        raise Broken("GitHub told of a push, and product 123 was not refreshed")
    await push()
    await processed(shop)

    async def again() -> bool:
        return await refreshed() != first

    if await kit.eventually(again, within=GRACE):
        raise Broken(f"GitHub delivered push {event[:8]} twice, and product 123 was refreshed twice")


async def after_a_restart(shop: Shop) -> None:
    order, event = Order(), secrets.token_hex(16)
    await order.deliver(shop, event)
    await processed(shop)
    await asyncio.gather(Process("webhooks").kill(), Process("webhook_worker").kill())
    await order.deliver(shop, event)
    await not_twice(shop, order, "After a restart the same event made a second order of order {id}")


kit.run(check)
