"""One order over the credit limit, with the old ERP and with the new one."""

from lessons import kit


async def show(shop: kit.Shop) -> None:
    async def rejected(order: str) -> bool:
        return await shop.status(order) != "pending"

    async def told(name: str) -> None:
        order = await shop.place(("4", 60))
        await kit.eventually(lambda: rejected(order), within=6)
        row = (await shop.get(f"/v1/orders/{order}", await shop.bearer())).raise_for_status().json()
        print(
            f"with the {name} ERP, order {order[:8]} over {row['total']} EUR is {row['status']}: {row['status_reason']}"
        )

    await told("old")
    async with kit.new_erp(), kit.Process("order_worker").stopped():
        await told("new")


kit.see(show)
