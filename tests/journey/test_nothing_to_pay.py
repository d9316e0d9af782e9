"""An order of 0.00, and prices that no currency has, on the whole shop."""

from __future__ import annotations

from pathlib import Path

from chassis.settings import environment
from shop.audit import Settings, audit_running_shop
from shop.audit.findings import State
from shop.audit.report import as_text
from tests.shop import shop_in_one_loop
from tests.waiting import eventually


async def test_order_of_nothing_ships(tmp_path: Path) -> None:
    """What costs nothing can be ordered: the payment provider is not asked, and the order is shipped."""
    async with shop_in_one_loop(tmp_path) as shop:
        admin = await shop.bearer("admin@shop.test", "admin")
        free = await shop.http.patch("/v1/products/42", json={"price": "0.00"}, headers=admin)
        assert free.status_code == 200, free.text
        order = (await shop.place(("42", 1))).json()["id"]

        async def shipped() -> bool:
            return await shop.status(order) == "shipped"

        await eventually(shipped, within=60)
        payments = await shop.http.get(f"{shop.address('SHOP_PAYMENT_URL')}/v1/payment_intents")
        assert all(each["metadata"]["order_id"] != order for each in payments.json()["data"])
        with environment(shop.around.shared):
            report = await audit_running_shop(Settings(), wait=60)
        assert (report.exit_code, report.orders[State.SETTLED]) == (0, 1), as_text(report)


async def test_a_price_fits_its_currency(tmp_path: Path) -> None:
    """A price has the decimal places of its currency (ISO 4217), and a currency is one."""
    async with shop_in_one_loop(tmp_path) as shop:
        admin = await shop.bearer("admin@shop.test", "admin")
        for price, currency, field in (
            ("500.50", "JPY", "price"),
            ("1.234", "EUR", "price"),
            ("1.00", "ZZZ", "currency"),
        ):
            draft = {"name": "Course", "category": "books", "price": price, "currency": currency}
            refused = await shop.http.post("/v1/products", json=draft, headers=admin)
            assert refused.status_code == 422, refused.text
            assert field in [each["field"] for each in refused.json()["errors"]]
        for price, currency in (("500", "JPY"), ("1.234", "KWD")):
            draft = {"name": "Course", "category": "books", "price": price, "currency": currency}
            made = await shop.http.post("/v1/products", json=draft, headers=admin)
            assert (made.status_code, made.json()["price"]) == (201, price)
