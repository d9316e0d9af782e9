"""Old clients, of JSON and of protobuf, read what they always read; new ones read the same in cents."""

import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from lessons import kit
from lessons.kit import FAULT, LIMIT, Broken, Shop, Void
from lessons.label_printer import printed

Read = Callable[[Shop, str], Awaitable[Any]]
SOON = LIMIT / 5
_prices = itertools.count(int(time.time()) % 100_000 + 100)

OLD_APP = "An old client, on sale until March,"
LABELS = "The label printer, built with the contract of last year,"
NEW_APP = "The new app"


async def on_the_label(_: Shop, product: str) -> Any:
    return await printed(product)


async def shown(shop: Shop, product: str) -> Any:
    return (await shop.get(f"/v1/products/{product}")).raise_for_status().json()["price"]


async def listed(shop: Shop, product: str) -> Any:
    rows = (await shop.get("/v1/products", category="stickers", limit=100)).raise_for_status().json()["items"]
    return next(row for row in rows if row["id"] == product)["price"]


async def in_cents(shop: Shop, product: str) -> Any:
    return (await shop.get(f"/v1/products/{product}")).raise_for_status().json()["unit_price"]


CLIENTS: list[tuple[str, Read, Callable[[int], object]]] = [
    (OLD_APP, shown, lambda cents: f"{cents // 100}.{cents % 100:02}"),
    (OLD_APP, listed, lambda cents: f"{cents // 100}.{cents % 100:02}"),
    (LABELS, on_the_label, lambda cents: f"{cents // 100}.{cents % 100:02}"),
    (NEW_APP, in_cents, lambda cents: cents),
]


async def reads(shop: Shop, product: str, cents: int) -> None:
    """All clients read this price."""
    for client, read, form in CLIENTS:
        wanted, found = form(cents), None

        async def as_wanted(read: Read = read, wanted: object = wanted) -> bool:
            nonlocal found
            found = await read(shop, product)
            return bool(found == wanted and type(found) is type(wanted))

        try:
            right = await kit.eventually(as_wanted, within=SOON)
        except KeyError as missing:
            raise Broken(f"{client} finds no price at product {product} (KeyError: {missing})") from None
        if not right:
            raise Broken(f"{client} reads the price of product {product} as {found!r} instead of {wanted!r}")


async def check(shop: Shop) -> str:
    if not FAULT:
        raise Void("every client was as new as the shop, so nothing is known of old ones")
    headers, cents = await shop.admin(), next(_prices)
    row = {"name": "Sticker", "description": "for lesson 8", "category": "stickers", "currency": "EUR", "image_url": ""}
    # What an old client writes is what it always wrote.
    answer = await shop.post("/v1/products", {**row, "price": f"{cents / 100:.2f}"}, headers)
    if not answer.is_success:
        raise Broken(f"{OLD_APP} puts a product on sale, and is answered {answer.status_code}", answer.text)
    product = str(answer.json()["id"])
    await reads(shop, product, cents)
    cents = next(_prices)
    url = f"{shop.gateway}/v1/products/{product}"
    version = {"If-Match": (await shop.get(f"/v1/products/{product}")).headers["etag"]}
    answer = await shop.http.patch(url, json={"price": f"{cents / 100:.2f}"}, headers=headers | version)
    if not answer.is_success:
        raise Broken(f"{OLD_APP} changes the price of product {product}, and is answered {answer.status_code}")
    await reads(shop, product, cents)
    return "Clients of last year read and write prices as ever, over JSON and protobuf; new ones read them in cents."


kit.run(check)
