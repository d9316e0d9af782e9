"""An order's invoice: a PDF that belongs to the customer, written once, when the order is paid."""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToJson

from chassis.auth.identity import TokenVerifier
from chassis.broker import connect
from chassis.broker.consumer import PermanentFailure
from chassis.broker.port import Broker, Event, Topology
from chassis.errors import ShopError, not_found, unavailable
from chassis.grpc.client import connect as connect_rpc
from chassis.settings import TOPOLOGY
from protos.shop.events.v1.events_pb2 import OrderPaid
from protos.shop.storage.v1.storage_pb2_grpc import StorageServiceStub
from services.storage.bootstrap import Settings, run
from services.storage.consumer import InvoiceConsumer
from services.storage.invoices.invoice import Invoice, InvoiceLine, file_id, render
from services.storage.invoices.pdf import Row, Text, document
from tests.storage.conftest import SIGNER, Caller
from tests.waiting import eventually

PAID_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
INVOICE = Invoice(
    "order-1",
    "123",
    "Zoë (Müller) \\ Søn",
    [InvoiceLine("Keyboard", 2, Decimal("89.00")), InvoiceLine("Büchlein", 1, Decimal("9.50"))],
    Decimal("187.50"),
    "EUR",
    PAID_AT,
    PAID_AT,
    "pi_1",
)


def texts(pdf: bytes) -> list[list[str]]:
    """What is written on each page, read by the file's own cross-reference table."""
    table = int(pdf.rsplit(b"startxref\n", 1)[1].split()[0])
    assert pdf[table:].startswith(b"xref\n0 ")
    offsets = [int(line[:10]) for line in pdf[table:].split(b"trailer")[0].splitlines()[3:]]
    objects = []
    for number, offset in enumerate(offsets, 1):
        assert pdf[offset:].startswith(f"{number} 0 obj\n".encode())
        objects.append(pdf[offset : pdf.index(b"\nendobj", offset)])
    assert re.search(rb"/Count (\d+)", objects[1])[1] == str(sum(b"/Type /Page " in each for each in objects)).encode()  # type: ignore[index]
    pages = []
    for each in objects:
        if b"\nstream\n" in each:
            head, _, rest = each.partition(b"\nstream\n")
            packed = rest.removesuffix(b"\nendstream")
            assert f"/Length {len(packed)} ".encode() in head
            shown = re.findall(rb"\((.*)\) Tj", zlib.decompress(packed))
            pages.append([re.sub(r"\\(.)", r"\1", each.decode("cp1252")) for each in shown])
    return pages


def test_what_is_on_an_invoice() -> None:
    """The order, the customer, every line with its sum, the total and the payment, all on one page."""
    (page,) = texts(render(INVOICE))
    for text in (
        "order-1",
        "Zoë (Müller) \\ Søn",
        "2026-03-01, payment pi_1",
        "Keyboard",
        "178.00",
        "187.50",
        "Sum in EUR",
    ):
        assert text in page
    assert render(INVOICE) == render(INVOICE)


def test_the_longest_invoice() -> None:
    """Fifty lines with endless names go on over two pages; what the font lacks is written as best it can be."""
    name = "ščř漢\n" + "x" * 300
    lines = [InvoiceLine(name, 1_000, Decimal("999999.99"))] * 50
    first, second = texts(render(replace(INVOICE, lines=lines, total=Decimal("49999999500.00"))))
    assert sum(text == "999999990.00" for text in [*first, *second]) == 50
    assert second[-1].startswith("Paid in full")
    assert any(text.startswith("šcr?xxx") and text.endswith("…") for text in first)


def test_no_text_leaves_its_place() -> None:
    """Brackets, backslashes and line breaks in a text end neither the text nor the file."""
    wicked = ") Tj ET endstream \\"
    assert texts(document(wicked, [Row([Text(10, wicked)])])) == [[wicked]]


class StubOrders:
    """One paid order; or `error`."""

    def __init__(self) -> None:
        self.error: ShopError | None = None
        self.asked = 0

    async def invoice(self, order_id: str, payment_id: str, paid_at: datetime) -> Invoice:
        self.asked += 1
        if self.error:
            raise self.error
        return replace(INVOICE, order_id=order_id, payment_id=payment_id, paid_at=paid_at)


def paid(order_id: str, event_id: str = "event-1") -> Event:
    payload = OrderPaid(order_id=order_id, user_id="123", payment_id="pi_1")
    data = MessageToJson(payload, preserving_proto_field_name=True, indent=None).encode()
    return Event(event_id, "order.paid", "/orders", order_id, PAID_AT, data)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    found = await connect(f"embedded:{tmp_path / 'broker.sqlite'}", Topology.load(TOPOLOGY))
    yield found
    await found.close()


async def test_a_paid_order_has_an_invoice(settings: Settings, broker: Broker) -> None:
    """Once an order is paid its invoice is a private file of the customer, the same after the event comes again."""
    orders = StubOrders()

    async def jwks() -> str:
        return SIGNER.jwks()

    own = settings.model_copy(update={"retry_delays": (0.05, 0.05)})
    orders.error = unavailable("orders")  # so that the first attempt fails
    async with (
        run(own, verifier=TokenVerifier(jwks), paid_orders=orders) as running,
        connect_rpc(f"127.0.0.1:{running.port}") as channel,
    ):
        stub = StorageServiceStub(channel)
        customer, stranger = Caller(stub, "123", "customer"), Caller(stub, "456", "customer")
        await broker.publish([paid("order-1")])
        await eventually(lambda: orders.asked)
        orders.error = None

        async def written() -> bool:
            try:
                file = await customer.stat(file_id("order-1"))
            except ShopError:
                return False
            return (file.content_type, file.owner_id, file.public) == ("application/pdf", "123", False)

        await eventually(written)
        with pytest.raises(ShopError, match="NOT_FOUND"):
            await stranger.stat(file_id("order-1"))
        pdf = b"".join(await customer.download("invoice-order-1"))
        assert pdf == render(INVOICE)
        asked = orders.asked
        await broker.publish([paid("order-1", "event-2")])
        await eventually(lambda: orders.asked > asked)
        assert b"".join(await customer.download("invoice-order-1")) == pdf


class NoStorage:
    async def put(self, *_: object) -> None:
        raise AssertionError


async def test_what_can_never_be_written_is_left_to_a_person() -> None:
    """An event that cannot be read, or is about an unknown order, is not tried again and again."""
    orders = StubOrders()
    consumer = InvoiceConsumer(orders, NoStorage())  # type: ignore[arg-type]
    with pytest.raises(PermanentFailure):
        await consumer.handle(replace(paid("order-1"), data=b"not JSON"))
    orders.error = not_found("order", "order-1")
    with pytest.raises(PermanentFailure):
        await consumer.handle(paid("order-1"))
    orders.error = unavailable("orders")
    with pytest.raises(ShopError):
        await consumer.handle(paid("order-1"))
