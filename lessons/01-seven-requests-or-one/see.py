"""The same page by seven REST requests, and by one query."""

import httpx

from lessons import kit

QUERY = 'query { user(id: "123") { name email orders { id total items { product { name price } } } } }'


def size(responses: list[httpx.Response]) -> str:
    """Requests, and bytes of bodies."""
    return f"{len(responses)} requests, {sum(len(each.content) for each in responses)} bytes of JSON"


async def show(shop: kit.Shop) -> None:
    headers = await shop.bearer()
    rest = [await shop.get("/v1/users/123", headers), await shop.get("/v1/orders", headers, limit=20)]
    wanted = {item["product_id"] for order in rest[1].json()["items"] for item in order["items"]}
    rest += [await shop.get(f"/v1/products/{product}", headers) for product in sorted(wanted)]
    print(f"by REST:    {size(rest)}")
    before = await shop.calls()
    answer = await shop.post("/graphql", {"query": QUERY}, headers)
    print(f"by GraphQL: {size([answer])}")
    print("and behind it, at the gateway:")
    for (method, route), count in sorted((await shop.calls() - before).items()):
        if route.startswith("/v1/"):
            print(f"  {count} x {method} {route}")
    print(shop.xray(answer))


kit.see(show)
