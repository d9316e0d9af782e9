"""The sales channel's newest orders."""

from lessons import kit


async def show(shop: kit.Shop) -> None:
    mine = await shop.bearer("channel@shop.test")

    async def newest() -> list[kit.Hop]:
        found: list[kit.Hop] = (await shop.get("/v1/orders", mine, limit=6)).raise_for_status().json()["items"]
        return found

    for order in await kit.eventually(newest):
        lines = ", ".join(f"{item['quantity']} x {item['name']}" for item in order["items"])
        print(f"{order['placed_at'][11:19]}  order {order['id'][:8]}  {order['total']:>8} {order['currency']}  {lines}")
    print("(Nothing here? shop partner send shopify --fault duplicate)")


kit.see(show)
