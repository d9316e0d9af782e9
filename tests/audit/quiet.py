"""A shop in which nothing moves, and the places of its records of the order that was shipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shop.audit import Settings, audit_running_shop
from shop.audit.command import look
from shop.audit.report import Report, as_text
from tests.audit.alterations import Place
from tests.shop import Shop


@dataclass(frozen=True)
class Quiet:
    """A shop in which nothing moves: one order was shipped, one rejected, one cancelled; all is settled."""

    shop: Shop
    settings: Settings
    shipped: str
    rejected: str
    cancelled: str
    paid_by: str

    @property
    def embedded(self) -> bool:
        return "SHOP_BROKER_URL" not in self.shop.around.shared

    async def look(self) -> Report:
        return await look(self.settings)


def orders(quiet: Quiet) -> Place:
    return Place("orders", "orders", f"id = '{quiet.shipped}'", ("id",))


def events(quiet: Quiet, type_: str) -> Place:
    return Place("orders", "outbox", f"subject = '{quiet.shipped}' AND type = '{type_}'", ("event_id",))


def reservations(quiet: Quiet) -> Place:
    return Place("inventory", "reservations", f"order_id = '{quiet.shipped}'", ("order_id",))


def stock(quiet: Quiet) -> Place:
    return Place("inventory", "stock", "product_id = '42'", ("product_id",))


def sales(quiet: Quiet) -> Place:
    return Place("legacy_soap", "sales_order", f"cust_ref = '{quiet.shipped}'", ("no",))


def _of_mine(quiet: Quiet) -> str:
    return f"order_no = (SELECT no FROM sales_order WHERE cust_ref = '{quiet.shipped}')"  # noqa: S608 - our own id


def lines(quiet: Quiet) -> Place:
    return Place("legacy_soap", "order_line", _of_mine(quiet), ("order_no", "pos"))


def shipments(quiet: Quiet) -> Place:
    return Place("legacy_soap", "shipment", _of_mine(quiet), ("no",))


def articles(quiet: Quiet) -> Place:
    return Place("legacy_soap", "article", "alt_ref = '42'", ("no",))


def payments(quiet: Quiet) -> Place:
    return Place("payment_provider", "intents", f"id = '{quiet.paid_by}'", ("id",))


def webhooks(quiet: Quiet) -> Place:
    return Place("webhooks", "webhooks", "event_type = 'payment_intent.succeeded'", ("id",))


def figures(quiet: Quiet, by: str) -> Place:
    key = ("generation", "dimension", "day", "key", "currency")
    return Place("reports", "figures", f"dimension = '{by}'", key)


def reading(quiet: Quiet) -> Place:
    return Place("reports", "log_partitions", "partition = 0", ("consumer_group", "partition"))


def accounts(quiet: Quiet) -> Place:
    return Place("users", "users", "id = '123'", ("id",))


def a_mail(quiet: Quiet, kind: str) -> Path:
    folder = quiet.shop.around.data_dir / "mails"
    wanted = (f"X-Shop-Order-Id: {quiet.shipped}".encode(), f"X-Shop-Mail-Kind: {kind}".encode())
    (found,) = [path for path in folder.glob("*.eml") if all(each in path.read_bytes() for each in wanted)]
    return found


def mails_of(quiet: Quiet) -> list[Path]:
    return list((quiet.shop.around.data_dir / "mails").glob("*.eml"))


async def settles(quiet: Quiet) -> None:
    """Nothing is wrong any more."""
    report = await audit_running_shop(quiet.settings, wait=60)
    assert report.at_rest, as_text(report)
