"""One order over the credit limit, with the old ERP and with the new one."""

from lessons import kit


async def show(shop: kit.Shop) -> None:
    async def rejected(order: str) -> bool:
        return await shop.status(order) != "pending"

    async def told(name: str) -> None:
        order = await shop.place(("4", 60))
        await kit.eventually(lambda: rejected(order), within=6)
        row = (await shop.get(f"/v1/orders/{order}", await shop.bearer())).raise_for_status().json()
        what = f"order {order[:8]} over {row['total']} EUR is {row['status']}"
        print(f"with the {name} ERP, {what}: {row['status_reason'] or 'no reason'}")

    # An order that waits holds its goods, and one that lacks goods is rejected for that and never reaches the ERP.
    if not await shop.frees("4", 60):
        print("Product 4 is nearly sold out, which comes before any credit limit: shop lesson reset")
    await told("old")
    async with kit.new_erp(), kit.Process("order_worker").stopped():
        await told("new")


kit.see(show)
