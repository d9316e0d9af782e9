"""Reads every book over its owner's protocol, page by page, into a spool; notes those that cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from chassis.auth.identity import no_token
from chassis.broker import connect as connect_broker
from chassis.broker.port import Broker, BrokerUnavailable, Topology
from chassis.errors import ShopError
from chassis.grpc.client import Client, connect
from chassis.observability.tracing import Telemetry
from chassis.settings import TOPOLOGY, ProcessSettings
from protos.shop.erp.v1 import erp_pb2
from protos.shop.erp.v1.erp_pb2_grpc import ErpServiceStub
from protos.shop.inventory.v1 import inventory_pb2
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from protos.shop.orders.v1 import orders_pb2
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub
from protos.shop.reports.v1.reports_pb2_grpc import ReportServiceStub
from protos.shop.users.v1 import users_pb2
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from protos.shop.webhooks.v1 import webhooks_pb2
from protos.shop.webhooks.v1.webhooks_pb2_grpc import WebhookAdminServiceStub
from shop.audit import parsing
from shop.audit.queue_metrics import unsettled
from shop.audit.records import Circumstances, Message, Queue
from shop.audit.sales.comparison import SalesReport, Sold
from shop.audit.sales.reading import read_sales
from shop.audit.spool import Spool
from shop.audit.stock import Promised
from shop.broker_nodes import split
from shop.commands.processes.certs import COMMAND_LINE

_PAGE = 500
_USERS_BATCH_SIZE = 100
_MAX_MESSAGES = 50_000
_MAX_DEAD_LETTERS = 10_000
_TIMEOUT = 10.0


class Settings(ProcessSettings):
    """The addresses of the books, and the credentials to read them."""

    orders_address: str = "127.0.0.1:50053"
    inventory_address: str = "127.0.0.1:50054"
    erp_adapter_address: str = "127.0.0.1:50056"
    webhooks_address: str = "127.0.0.1:50057"
    reports_address: str = "127.0.0.1:50058"
    payment_url: str = "http://127.0.0.1:8021"
    mail_url: str = "http://127.0.0.1:8026"
    # URL of RabbitMQ's Prometheus endpoint (port 15692), which counts unacknowledged messages; empty without one.
    broker_metrics_url: str = ""
    # Email of the admin account that the audit signs in to.
    audit_email: str = "admin@shop.test"
    # The password of SHOP_AUDIT_EMAIL.
    audit_password: str = "admin"  # noqa: S105 - the demo account's, which is public


@dataclass(slots=True)
class Library:
    """Totals, limits and unreadable books: the part of a reading that is not in the spool."""

    promised: Promised = field(default_factory=Promised)
    sold: Sold = field(default_factory=Sold)
    # None where it could not be read.
    sales_report: SalesReport | None = None
    unread: dict[str, str] = field(default_factory=dict)
    queues: dict[str, Queue] = field(default_factory=dict)
    # The finding about two clusters behind the broker's name; empty where there are not two.
    split: str = ""
    demo_orders: set[str] = field(default_factory=set)
    mails_forgotten: int = 0
    mails_forgotten_until: datetime | None = None
    webhooks_complete_since: datetime | None = None

    def circumstances(self) -> Circumstances:
        """The inputs of the judgement."""
        return Circumstances(
            datetime.now(UTC),
            dict(self.unread),
            dict(self.queues),
            self.mails_forgotten_until,
            self.webhooks_complete_since,
        )


async def read(settings: Settings, spool: Spool) -> Library:
    """Read every book into the spool. Raises `ShopError` where no account can sign in or the orders cannot be read."""
    async with AsyncExitStack() as stack:
        reader = await _opened(settings, spool, stack)
        # First: what happens while the others are read may be ahead of an order, and is never taken for lost.
        await reader.orders()
        for book, reading in {
            "inventory": reader.inventory,
            "erp": reader.sales_orders,
            "payments": reader.payments,
            "webhooks": reader.webhooks,
            "mails": reader.mails,
            "users": reader.emails,
            "broker": reader.broker,
            "reports": reader.sales_report,
        }.items():
            await reader.note(book, reading)
        spool.complete()
        return reader.library


async def _opened(settings: Settings, spool: Spool, stack: AsyncExitStack) -> _Reader:
    spans = Telemetry("audit")
    tls = settings.tls(COMMAND_LINE)

    async def stub(kind: Callable[[Any], Any], address: str) -> Any:
        return kind(await stack.enter_async_context(connect(address, tls=tls)))

    users = await stub(UserServiceStub, settings.users_address)
    request = users_pb2.IssueTokenRequest(email=settings.audit_email, password=settings.audit_password)
    signing_in = Client("users", spans, token=no_token, timeout=_TIMEOUT)
    token = (await signing_in.call(users.IssueToken, request)).access_token

    async def as_admin() -> str:
        return str(token)

    def client(peer: str) -> Client:
        return Client(peer, spans, token=as_admin, timeout=_TIMEOUT)

    stubs = {
        "users": users,
        "orders": await stub(OrderServiceStub, settings.orders_address),
        "inventory": await stub(InventoryServiceStub, settings.inventory_address),
        "erp_adapter": await stub(ErpServiceStub, settings.erp_adapter_address),
        "webhook_worker": await stub(WebhookAdminServiceStub, settings.webhooks_address),
        "reports": await stub(ReportServiceStub, settings.reports_address),
    }
    http = await stack.enter_async_context(httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False))
    return _Reader(settings, spool, stubs, client, http)


class _Reader:
    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        stubs: dict[str, Any],
        client: Callable[[str], Client],
        http: httpx.AsyncClient,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._stubs = stubs
        self._client = client
        self._http = http
        self.library = Library()

    async def note(self, book: str, reading: Callable[[], Awaitable[None]]) -> None:
        """Read a book, or note why it cannot be read."""
        try:
            await reading()
        except (ShopError, httpx.HTTPError, BrokerUnavailable, OSError, ValueError, KeyError, TypeError) as error:
            self.library.unread[book] = f"{type(error).__name__}: {error}".removesuffix(": ")

    async def orders(self) -> None:
        async for page in self._pages("orders", "ListRecords", orders_pb2.ListRecordsRequest):
            for record in page.records:
                if record.demo:
                    self.library.demo_orders.add(record.order.id)
                else:
                    order = parsing.order(record)
                    self.library.sold.add(order)
                    self._spool.add_order(order)

    async def sales_report(self) -> None:
        reports = self._client("reports"), self._stubs["reports"]
        self.library.sales_report = await read_sales(*reports, self.library.sold)

    async def inventory(self) -> None:
        async for page in self._pages("inventory", "ListReservations", inventory_pb2.ListReservationsRequest):
            for each in page.reservations:
                reservation = parsing.reservation(each)
                self.library.promised.add(reservation)
                self._spool.add(reservation.order_id, reservation)
        async for page in self._pages("inventory", "ListStock", inventory_pb2.ListStockRequest):
            for each in page.stock:
                self._spool.add_stock(parsing.stock(each))

    async def sales_orders(self) -> None:
        async for page in self._pages("erp_adapter", "ListSalesOrders", erp_pb2.ListSalesOrdersRequest):
            for each in page.sales_orders:
                self._spool.add(each.order_id, parsing.sales_order(each))

    async def payments(self) -> None:
        async for row in self._listed("/v1/payment_intents"):
            payment = parsing.payment(row)
            self._spool.add(payment.order_id, payment)
        async for row in self._listed("/v1/refunds"):
            refund = parsing.refund(row)
            self._spool.add(refund.order_id, refund)
        async for row in self._listed("/v1/events", delivery_success="false"):
            news = parsing.payment_event(row)
            self._spool.add(news.order_id, news)

    async def webhooks(self) -> None:
        request = webhooks_pb2.ListWebhookRecordsRequest
        async for page in self._pages("webhook_worker", "ListWebhookRecords", request):
            self.library.webhooks_complete_since = page.complete_since.ToDatetime(UTC)
            for record in page.records:
                webhook = parsing.webhook(record)
                self._spool.add(webhook.order_id or webhook.id, webhook)

    async def mails(self) -> None:
        for row in (await self._http.get(f"{self._settings.mail_url}/mails")).raise_for_status().json():
            mail = parsing.mail(row)
            if mail.order_id:
                self._spool.add(mail.order_id, mail)
        # Afterwards: what is deleted meanwhile counts as deleted.
        extent = (await self._http.get(f"{self._settings.mail_url}/mailbox")).raise_for_status().json()
        self.library.mails_forgotten = int(extent["forgotten"])
        until = extent["forgotten_until"]
        self.library.mails_forgotten_until = datetime.fromisoformat(until) if until else None

    async def emails(self) -> None:
        customers = list(self._spool.customers())
        users = self._stubs["users"]
        for start in range(0, len(customers), _USERS_BATCH_SIZE):
            request = users_pb2.GetUsersRequest(ids=customers[start : start + _USERS_BATCH_SIZE])
            for user in (await self._client("users").call(users.GetUsers, request)).users:
                self._spool.add_email(user.id, user.email)

    async def broker(self) -> None:
        topology = Topology.load(TOPOLOGY)
        url = self._settings.broker()
        scheme, _, path = url.partition(":")
        if scheme == "embedded" and not await asyncio.to_thread(Path(path).exists):
            raise BrokerUnavailable(f"no broker found in {path}")  # connecting would make one
        broker = await connect_broker(url, topology, log_url=self._settings.event_log_url)
        try:
            depths = {depth.queue: depth.ready + depth.delayed for depth in await broker.depths()}
            counts = await self._counts(url, list(topology.queues))
            for name in topology.queues:
                # The messages first: one that dies meanwhile is found among the dead letters.
                exact = await self._messages(broker, name)
                self.library.queues[name] = Queue(exact, max(depths[name], counts.get(name, 0)), name in counts)
                await self._letters(broker, name)
        finally:
            await broker.close()

    async def _counts(self, broker_url: str, queues: Sequence[str]) -> dict[str, int]:
        """The broker's count for each queue, where its metrics are configured."""
        metrics_url = self._settings.broker_metrics_url
        if not metrics_url:
            return {}
        try:
            self.library.split = await split(self._http, metrics_url)
            return await unsettled(self._http, metrics_url, broker_url, queues)
        except (httpx.HTTPError, OSError, ValueError) as error:
            self.library.unread["broker metrics"] = f"{type(error).__name__}: {error}".removesuffix(": ")
            return {}

    async def _messages(self, broker: Broker, queue: str) -> bool:
        """Spool a queue's messages; whether these are all."""
        found = await broker.queued(queue, limit=_MAX_MESSAGES)
        for each in found or ():
            message = Message(each.subject, queue, each.type, each.attempt, each.not_before)
            self._spool.add(each.subject, message)
        return found is not None and len(found) < _MAX_MESSAGES

    async def _letters(self, broker: Broker, queue: str) -> None:
        found = await broker.dead_letters(queue, limit=_MAX_DEAD_LETTERS)
        for each in found:
            letter = parsing.letter(each)
            self._spool.add(letter.subject, letter)
        if len(found) == _MAX_DEAD_LETTERS:
            self.library.unread["dead letters"] = f"{queue} has more than {_MAX_DEAD_LETTERS}"

    async def _pages(self, peer: str, method: str, request: Callable[..., Any]) -> AsyncIterator[Any]:
        """Every page of a listing."""
        client, call = self._client(peer), getattr(self._stubs[peer], method)
        cursor = ""
        while True:
            page = await client.call(call, request(page_size=_PAGE, cursor=cursor))
            yield page
            cursor = page.next_cursor
            if not cursor:
                return

    async def _listed(self, path: str, **parameters: str) -> AsyncIterator[dict[str, Any]]:
        """Every row of one of the payment provider's lists. Raises `ValueError` for a list that does not go on."""
        ends: set[str] = set()
        while True:
            response = await self._http.get(f"{self._settings.payment_url}{path}", params=parameters)
            page = response.raise_for_status().json()
            rows, more = page["data"], bool(page.get("has_more"))
            end = str(rows[-1]["id"]) if rows else ""
            if end in ends or (more and not rows):
                raise ValueError(f"{path} does not go on behind {parameters.get('starting_after', 'its begin')}")
            for row in rows:
                yield row
            if not more:
                return
            ends.add(end)
            parameters["starting_after"] = end
