"""A query's calls do not grow with its rows, and what one customer was shown is not shown to another."""

import asyncio
import secrets
from collections.abc import Sequence
from itertools import pairwise

import httpx

from lessons import kit
from lessons.kit import FAULT, Broken, Shop, Void

ROUTE = ("GET", "/v1/products")
FEW, LINES = 5, 50
# More than the gateway takes in one call.
MANY = 101


async def ask(shop: Shop, query: str, **as_user: str) -> httpx.Response:
    return await shop.post("/graphql", {"query": query}, await shop.bearer(**as_user))


async def products(shop: Shop, count: int) -> list[str]:
    """Ids of so many products; what is missing is made."""
    admin = await shop.admin()
    listed = (await shop.get("/v1/products", limit=100)).json()
    found = [row["id"] for row in listed["items"]]
    if listed["next_cursor"]:
        more = await shop.get("/v1/products", limit=100, cursor=listed["next_cursor"])
        found += [row["id"] for row in more.json()["items"]]
    enough = asyncio.Semaphore(10)

    async def make(number: int) -> str:
        row = {"name": f"Sticker {number}", "description": "for lesson 1", "category": "stickers", "price": "1.00"}
        async with enough:
            answer = await shop.post("/v1/products", {**row, "currency": "EUR", "image_url": ""}, admin)
            return str(answer.raise_for_status().json()["id"])

    return found + list(await asyncio.gather(*(make(number) for number in range(count - len(found)))))


def shown(answer: httpx.Response, wanted: int) -> Sequence[object]:
    """The products in the answer. Raises `Broken` where an error came instead."""
    body = answer.json()
    if errors := body.get("errors"):
        raise Broken(f"A query over {wanted} products was refused: {errors[0]['message']}")
    orders = body["data"]["user"]["orders"]
    return [item["product"] for order in orders for item in order["items"]]


async def overlapping(shop: Shop, answer: httpx.Response, calls: int) -> bool:
    """Whether the calls were made at the same time."""

    def ours(hops: list[kit.Hop]) -> list[tuple[float, float]]:
        mine = [hop for hop in hops if hop["from"] == "graphql_server" and hop["operation"].endswith(ROUTE[1])]
        return sorted((hop["offset_ms"], hop["offset_ms"] + hop["duration_ms"]) for hop in mine)

    found = ours(await shop.hops(answer, lambda hops: len(ours(hops)) >= calls))
    return any(second[0] < first[1] for first, second in pairwise(found))


async def calls_of(shop: Shop, wanted: Sequence[str], allowed: int) -> None:
    """A query over an order of these products makes so many calls. Each is sent by a customer with no other order."""
    name = f"lesson-{secrets.token_hex(6)}@shop.test"
    account = {"name": "A Student", "email": name, "password": "lesson-password"}
    user = (await shop.post("/v1/users", account)).raise_for_status().json()["id"]
    as_user = {"email": name, "password": account["password"]}
    for start in range(0, len(wanted), LINES):
        await shop.place(*((product, 1) for product in wanted[start : start + LINES]), **as_user)
    before = await shop.calls()
    answer = await ask(
        shop, f'{{ user(id: "{user}") {{ orders {{ items {{ product {{ id name }} }} }} }} }}', **as_user
    )
    rows = shown(answer, len(wanted))
    made = (await shop.calls() - before)[ROUTE]
    if not rows:
        raise Void("the query showed no product, so it says nothing about calls for products")
    if made > allowed:
        at_once = await overlapping(shop, answer, made)
        extra = f"; {made} calls at once are still {made} calls" if at_once else ""
        raise Broken(
            f"One query over {len(wanted)} products made {made} calls of {' '.join(ROUTE)} instead of {allowed}{extra}",
            shop.xray(answer),
        )
    if None in rows or len(rows) != len(wanted):
        got = len([row for row in rows if row])
        raise Broken(f"A query over {len(wanted)} products showed {got} of them", shop.xray(answer))


async def check(shop: Shop) -> str:
    articles = 'query { user(id: "123") { name email orders { id total items { product { name price } } } } }'
    if errors := (await ask(shop, articles)).json().get("errors"):
        raise Broken(f"The articles' query is refused now: {errors[0]['message']}")
    there = await products(shop, MANY)
    await calls_of(shop, there[:FEW] if FAULT else [], 1)
    await own_rows(shop)
    await new_price(shop, there[-1])
    await calls_of(shop, there[:MANY], 2)
    if (await ask(shop, '{ product(id: "no-such-product") { name } }')).json() != {"data": {"product": None}}:
        raise Broken("A product that does not exist is not null any more")
    return (
        f"A query over {FEW} products makes 1 call for them, over {MANY} it makes 2, and each customer sees their own."
    )


async def own_rows(shop: Shop) -> None:
    """What was fetched for customer 123 is not shown to customer 456."""
    query = '{ user(id: "123") { email } }'
    await ask(shop, query)
    seen = await ask(shop, query, email="customer2@shop.test")
    if "demo@shop.test" in seen.text:
        raise Broken(
            "Customer 456 was shown the e-mail address of customer 123, which was fetched for 123", shop.xray(seen)
        )


async def new_price(shop: Shop, product: str) -> None:
    """A query shows the price of now."""
    query = f'{{ product(id: "{product}") {{ price }} }}'
    await ask(shop, query)
    path, admin = f"/v1/products/{product}", await shop.admin()
    old = await shop.get(path)
    price = "2.00" if old.json()["price"] == "1.00" else "1.00"
    current = {**admin, "If-Match": (await shop.get(path, {"Cache-Control": "no-cache"})).headers["etag"]}
    await shop.http.patch(f"{shop.gateway}{path}", json={"price": price}, headers=current)

    async def rest_shows_it() -> bool:
        return bool((await shop.get("/v1/products", ids=product)).json()["items"][0]["price"] == price)

    if not await kit.eventually(rest_shows_it):
        raise Void(f"the price of product {product} did not change over REST either")
    seen = (await ask(shop, query)).json()["data"]["product"]["price"]
    if seen != price:
        raise Broken(f"A query was shown {seen} for product {product}, the price before it was changed to {price}")


kit.run(check)
