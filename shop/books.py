"""What every service, and everybody outside, has on record: read over their own protocols, for the audit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx

from chassis.identity import no_token
from chassis.rpc import Client, connect
from chassis.settings import ProcessSettings
from chassis.telemetry import Telemetry
from protos.shop.erp.v1 import erp_pb2
from protos.shop.erp.v1.erp_pb2_grpc import ErpServiceStub
from protos.shop.inventory.v1 import inventory_pb2
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from protos.shop.orders.v1 import orders_pb2
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub
from protos.shop.users.v1 import users_pb2
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from shop.certs import COMMAND_LINE

_PAGE = 500
_PATIENCE = 10.0


class Settings(ProcessSettings):
    """Where the books are, and who may read them."""

    orders_address: str = "127.0.0.1:50053"
    inventory_address: str = "127.0.0.1:50054"
    erp_adapter_address: str = "127.0.0.1:50056"
    payment_url: str = "http://127.0.0.1:8021"
    mail_url: str = "http://127.0.0.1:8026"
    audit_email: str = "admin@shop.test"
    audit_password: str = "admin"  # noqa: S105 - the demo account's, which is public


@dataclass(frozen=True, slots=True)
class OrderBook:
    """An order by the orders service: `history` is its events' (sequence, type), `lines` pieces by product."""

    id: str
    status: str
    lines: Mapping[str, int]
    payment_id: str
    history: Sequence[tuple[int, str]]
    unpublished: int


@dataclass(frozen=True, slots=True)
class Reservation:
    order_id: str
    state: str
    lines: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SalesOrder:
    order_id: str
    state: str
    shipments: int


@dataclass(frozen=True, slots=True)
class Payment:
    order_id: str
    id: str
    status: str


@dataclass(frozen=True, slots=True)
class Mail:
    order_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Stock:
    product_id: str
    received: int
    available: int
    reserved: int
    shipped: int
    erp_on_hand: int | None


@dataclass(frozen=True, slots=True)
class Books:
    """All of it; demo orders are left out: they are history that no other service has heard of."""

    orders: Sequence[OrderBook]
    reservations: Sequence[Reservation]
    sales_orders: Sequence[SalesOrder]
    payments: Sequence[Payment]
    mails: Sequence[Mail]
    stock: Sequence[Stock]


async def read(settings: Settings) -> Books:
    """Read every book. Raises `ShopError` or `httpx.HTTPError` when one cannot be read."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        spans = Telemetry("audit")
        token = await _sign_in(stack, settings, spans)

        async def as_admin() -> str:
            return token

        def client(peer: str) -> Client:
            return Client(peer, spans, token=as_admin, timeout=_PATIENCE)

        tls = settings.tls(COMMAND_LINE)
        orders = OrderServiceStub(await enter(connect(settings.orders_address, tls=tls)))
        inventory = InventoryServiceStub(await enter(connect(settings.inventory_address, tls=tls)))
        erp = ErpServiceStub(await enter(connect(settings.erp_adapter_address, tls=tls)))
        http = await enter(httpx.AsyncClient(timeout=_PATIENCE))
        records = _pages(client("orders"), orders.ListRecords, orders_pb2.ListRecordsRequest)
        held = _pages(client("inventory"), inventory.ListReservations, inventory_pb2.ListReservationsRequest)
        figures = _pages(client("inventory"), inventory.ListStock, inventory_pb2.ListStockRequest)
        sold = _pages(client("erp_adapter"), erp.ListSalesOrders, erp_pb2.ListSalesOrdersRequest)
        return Books(
            orders=[_order(each) async for page in records for each in page.records if not each.demo],
            reservations=[
                Reservation(each.order_id, each.state, _lines(each.items))
                async for page in held
                for each in page.reservations
            ],
            sales_orders=[
                SalesOrder(each.order_id, each.state, each.shipments)
                async for page in sold
                for each in page.sales_orders
            ],
            payments=await _payments(http, settings.payment_url),
            mails=await _mails(http, settings.mail_url),
            stock=[_stock(each) async for page in figures for each in page.stock],
        )


async def _sign_in(stack: AsyncExitStack, settings: Settings, spans: Telemetry) -> str:
    users = UserServiceStub(
        await stack.enter_async_context(connect(settings.users_address, tls=settings.tls(COMMAND_LINE)))
    )
    request = users_pb2.IssueTokenRequest(email=settings.audit_email, password=settings.audit_password)
    client = Client("users", spans, token=no_token, timeout=_PATIENCE)
    return (await client.call(users.IssueToken, request)).access_token


async def _pages(client: Client, method: Any, request: Callable[..., Any]) -> AsyncIterator[Any]:
    """Every page of a listing."""
    cursor = ""
    while True:
        page = await client.call(method, request(page_size=_PAGE, cursor=cursor))
        yield page
        cursor = page.next_cursor
        if not cursor:
            return


async def _payments(http: httpx.AsyncClient, url: str) -> list[Payment]:
    found: list[Payment] = []
    after = ""
    while True:
        parameters = {"starting_after": after} if after else {}
        response = (await http.get(f"{url}/v1/payment_intents", params=parameters)).raise_for_status().json()
        found += [
            Payment(each["metadata"].get("order_id", ""), each["id"], each["status"]) for each in response["data"]
        ]
        if not response.get("has_more"):
            return found
        after = found[-1].id


async def _mails(http: httpx.AsyncClient, url: str) -> list[Mail]:
    response = (await http.get(f"{url}/mails")).raise_for_status()
    return [Mail(each["order_id"], each["kind"]) for each in response.json()]


def _order(record: orders_pb2.OrderRecord) -> OrderBook:
    return OrderBook(
        id=record.order.id,
        status=record.order.status,
        lines=_lines(record.order.items),
        payment_id=record.payment_id,
        history=[(event.sequence, event.type) for event in record.events],
        unpublished=record.unpublished,
    )


def _lines(items: Any) -> dict[str, int]:
    lines: dict[str, int] = {}
    for item in items:
        lines[item.product_id] = lines.get(item.product_id, 0) + item.quantity
    return lines


def _stock(figures: inventory_pb2.Stock) -> Stock:
    return Stock(
        product_id=figures.product_id,
        received=figures.received,
        available=figures.available,
        reserved=figures.reserved,
        shipped=figures.shipped,
        erp_on_hand=figures.erp_on_hand if figures.HasField("erp_on_hand") else None,
    )
