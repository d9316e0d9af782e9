"""A changed price is shown at once, everywhere, and the catalogue still serves few of the reads."""

import asyncio
import itertools
import time

import httpx

from lessons import kit
from lessons.kit import FAULT, LIMIT, Broken, Shop, Void

# Seconds until an event has to have come to every gateway.
SOON = LIMIT / 7.5
READS, PAUSE, MAX_ASKED = 100, 0.045, 2
_prices = itertools.count(int(time.time()) % 1_000_000)


async def product(shop: Shop) -> str:
    """A product that only this check uses."""
    row = {"name": "Sticker", "description": "for lesson 2", "category": "stickers", "price": "89.00"}
    answer = await shop.post("/v1/products", {**row, "currency": "EUR", "image_url": ""}, await shop.admin())
    return str(answer.raise_for_status().json()["id"])


async def change(shop: Shop, gateway: str, product_id: str) -> str:
    """Give it another price, through this gateway; the new price."""
    url = f"{gateway}/v1/products/{product_id}"
    price = f"{next(_prices) / 100:.2f}"
    current = await shop.http.get(url, headers={"Cache-Control": "no-cache"})
    headers = {**await shop.admin(), "If-Match": current.headers["etag"]}
    (await shop.http.patch(url, json={"price": price}, headers=headers)).raise_for_status()
    return price


def price_in(answer: httpx.Response, product_id: str) -> str:
    content = answer.raise_for_status().json()
    rows = content.get("items", [content])
    return str(next((row["price"] for row in rows if row["id"] == product_id), "nothing"))


async def shows(shop: Shop, url: str, product_id: str, price: str, sentence: str) -> None:
    """This URL soon shows the price. `sentence` says what is wrong where it does not."""

    async def new() -> bool:
        return price_in(await shop.http.get(url), product_id) == price

    if not await kit.eventually(new, within=SOON):
        old = price_in(await shop.http.get(url), product_id)
        raise Broken(sentence.format(product=product_id, new=price, old=old))


async def few_calls(shop: Shop, url: str) -> None:
    """Many reads, over a while, are answered by the gateway itself."""
    began, asked = time.monotonic(), 0
    for _ in range(READS):
        status = (await shop.http.get(url)).headers.get("cache-status", "")
        asked += ";hit" not in status
        await asyncio.sleep(PAUSE)
    if asked > MAX_ASKED:
        took = time.monotonic() - began
        kept = "nothing is kept" if asked == READS else f"an answer is kept for about {took / asked:.0f} s"
        raise Broken(f"{READS} reads of one product within {took:.1f} s reached the catalogue {asked} times: {kept}")


async def conditions(shop: Shop, url: str, product_id: str) -> None:
    """A browser that has the old version is sent the new one, and one that has the new one gets a 304."""
    old = (await shop.http.get(url)).headers["etag"]
    price = await change(shop, shop.gateway, product_id)
    await shows(shop, url, product_id, price, "Product {product} is {new}, and is sold for {old} after a second change")
    new = (await shop.http.get(url)).headers["etag"]
    answers = [(await shop.http.get(url, headers={"If-None-Match": etag})).status_code for etag in (old, new)]
    for which, answered, right in zip(("old", "new"), answers, (200, 304), strict=True):
        if answered != right:
            raise Broken(
                f"A browser with the {which} version of product {product_id} was answered {answered} instead of {right}"
            )


async def check(shop: Shop) -> str:
    product_id = await product(shop)
    path, pages = f"/v1/products/{product_id}", "/v1/products?category=stickers&limit=100"
    url = f"{shop.gateway}{path}"
    async with kit.copy_of("gateway", "SHOP_GATEWAY_PORT", shop.http, "/healthz") as other:
        copies = (shop.gateway, other)
        for each in (f"{copy}{part}" for copy in copies for part in (path, pages)):
            await shop.http.get(each)  # so that it is stored
        before = price_in(await shop.http.get(url), product_id)
        price = await change(shop, shop.gateway, product_id) if FAULT else before
        if price == before:
            raise Void("the price was not changed, so nothing stored was out of date")
        for copy, name in zip(copies, ("the gateway that took the change", "the second gateway"), strict=True):
            told = "Product {product} was changed to {new}, and " + name + " still sells it for {old}"
            await shows(shop, f"{copy}{path}", product_id, price, told)
            told = "Product {product} was changed to {new}, and a list at " + name + " still says {old}"
            await shows(shop, f"{copy}{pages}", product_id, price, told)
    await conditions(shop, url, product_id)
    await few_calls(shop, url)
    return f"A changed price shows at every gateway and in every list, and {READS} reads hardly reach the catalogue."


kit.run(check)
