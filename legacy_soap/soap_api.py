"""The ERP's SOAP operations, by Spyne: document/literal wrapped, checked against the WSDL's own schema."""

# Spyne is untyped, takes the names of operations and fields from Python's, and calls functions without `self`.
# ruff: noqa: N802, N803, N805
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False

from __future__ import annotations

import logging
from datetime import UTC, date, datetime
from typing import Any
from wsgiref.types import WSGIApplication

import legacy_soap.spyne_compat  # noqa: F401 - must come before Spyne

# isort: split
from spyne import Application, Array, ComplexModel, Fault, ServiceBase, Unicode, const, rpc
from spyne.protocol.soap import Soap11
from spyne.server.wsgi import WsgiApplication

from legacy_soap import formats
from legacy_soap.documents import Line, Order, OrderRecord, Receipt, Refusal, Shipment
from legacy_soap.erp import Erp
from legacy_soap.sessions import Sessions

log = logging.getLogger(__name__)

# Spyne would run a full garbage collection once a second, so that uploaded files are closed early: there are none here.
const.MIN_GC_INTERVAL = float("inf")

NAMESPACE = "urn:erp:sales:2004"
# An order may have 999 lines, and a page of such orders has to stay readable in one piece.
PAGE_ROWS = 50


def _text(pattern: str | None = None, *, most: int = 64, optional: bool = False) -> Any:
    """A string element, required by default."""
    limits: dict[str, Any] = {"max_len": most} if pattern is None else {"pattern": pattern}
    return Unicode(min_occurs=0 if optional else 1, nillable=False, **limits)


def _list(item: Any, most: int) -> Any:
    return Array(item.customize(min_occurs=1, max_occurs=most, nillable=False), min_occurs=1, nillable=False)


class SessionHeader(ComplexModel):
    __namespace__ = NAMESPACE
    SessionId = _text()


class LoginReply(ComplexModel):
    __namespace__ = NAMESPACE
    SessionId = _text()
    ValidSecs = _text(formats.NUMBER)


class ArticleRef(ComplexModel):
    __namespace__ = NAMESPACE
    ArtNo = _text(formats.ARTICLE_NUMBER, optional=True)
    AltRef = _text(formats.REFERENCE, optional=True)


class StockLine(ComplexModel):
    __namespace__ = NAMESPACE
    ArtNo = _text()
    AltRef = _text()
    OnHand = _text(formats.SIGNED_NUMBER)
    Stat = _text("10|90")
    AsOfDate = _text(formats.DATE)
    AsOfTime = _text("[0-9]{6}")


class OrderLine(ComplexModel):
    __namespace__ = NAMESPACE
    ArtNo = _text(formats.ARTICLE_NUMBER, optional=True)
    AltRef = _text(formats.REFERENCE, optional=True)
    Qty = _text(formats.NUMBER)
    UnitPrc = _text(formats.NUMBER)


class OrderHead(ComplexModel):
    __namespace__ = NAMESPACE
    OrdNo = _text("[0-9]{10}")
    CustRef = _text(formats.REFERENCE)
    Stat = _text("10|20|90")
    Shipments = _text(formats.NUMBER)


class OrderRecordLine(ComplexModel):
    __namespace__ = NAMESPACE
    ArtNo = _text()
    AltRef = _text()
    Qty = _text(formats.NUMBER)
    UnitPrc = _text(formats.NUMBER)


class ShipmentRef(ComplexModel):
    __namespace__ = NAMESPACE
    ShpNo = _text("[0-9]{10}")


class OrderRow(ComplexModel):
    __namespace__ = NAMESPACE
    OrdNo = _text("[0-9]{10}")
    CustRef = _text(formats.REFERENCE)
    Stat = _text("10|20|90")
    Shipments = _text(formats.NUMBER)
    SoldTo = _text(optional=True)
    Curr = _text(optional=True)
    Lines = Array(OrderRecordLine)
    ShpRefs = Array(ShipmentRef)


class OrderPage(ComplexModel):
    __namespace__ = NAMESPACE
    Orders = Array(OrderRow)
    NextNo = _text(optional=True)


class ShipmentHead(ComplexModel):
    __namespace__ = NAMESPACE
    ShpNo = _text("[0-9]{10}")
    CustRef = _text(formats.REFERENCE)
    Stat = _text("10|20|30")
    ShpDate = _text(formats.DATE)


class ReceiptHead(ComplexModel):
    __namespace__ = NAMESPACE
    RcptNo = _text("[0-9]{10}")
    CustRef = _text(formats.REFERENCE)
    AltRef = _text(formats.REFERENCE)
    Qty = _text(formats.SIGNED_NUMBER)


class SalesService(ServiceBase):
    __in_header__ = SessionHeader

    @rpc(_text(), _text(), _returns=LoginReply)
    def Login(ctx: Any, User: str, Password: str) -> LoginReply:
        session, seconds = ctx.app.sessions.open(User, Password)
        return LoginReply(SessionId=session, ValidSecs=formats.signed_number(seconds))

    @rpc(_list(ArticleRef, 100), _returns=Array(StockLine))
    def GetStockLevel(ctx: Any, Articles: Any) -> list[StockLine]:
        now = datetime.now(UTC)
        return [
            StockLine(
                ArtNo=stock.article_no,
                AltRef=stock.alt_ref,
                OnHand=formats.signed_number(stock.on_hand),
                Stat=stock.status,
                AsOfDate=formats.date_text(now),
                AsOfTime=formats.time_text(now),
            )
            for stock in ctx.app.erp.stock([_article(ref) for ref in Articles])
        ]

    @rpc(_text(formats.REFERENCE), _text(most=80), _returns=_text(formats.ARTICLE_NUMBER))
    def CreateArticle(ctx: Any, AltRef: str, Text: str) -> str:
        number: str = ctx.app.erp.create_article(AltRef, Text)
        return number

    @rpc(
        _text(formats.REFERENCE),
        _text(formats.REFERENCE),
        _text(formats.DATE),
        _text("[A-Z]{3}"),
        _list(OrderLine, 999),
        _returns=OrderHead,
    )
    def CreateSalesOrder(ctx: Any, CustRef: str, CustNo: str, OrdDate: str, Curr: str, Lines: Any) -> OrderHead:
        return _order_head(
            ctx.app.erp.create_order(CustRef, CustNo, _date(OrdDate, "OrdDate"), Curr, [_line(line) for line in Lines])
        )

    @rpc(_text(formats.REFERENCE), _returns=OrderHead)
    def CancelSalesOrder(ctx: Any, CustRef: str) -> OrderHead:
        return _order_head(ctx.app.erp.cancel_order(CustRef))

    @rpc(_text(formats.REFERENCE), _returns=ShipmentHead)
    def CreateShipment(ctx: Any, CustRef: str) -> ShipmentHead:
        return _shipment_head(ctx.app.erp.create_shipment(CustRef))

    @rpc(_text(formats.REFERENCE), _returns=ShipmentHead)
    def GetShipmentStatus(ctx: Any, CustRef: str) -> ShipmentHead:
        return _shipment_head(ctx.app.erp.shipment(CustRef))

    @rpc(
        _text(formats.REFERENCE),
        _text(formats.REFERENCE),
        _text(formats.SIGNED_NUMBER),
        _text(formats.DATE),
        _returns=ReceiptHead,
    )
    def PostGoodsReceipt(ctx: Any, CustRef: str, AltRef: str, Qty: str, RcptDate: str) -> ReceiptHead:
        line = Line(_signed(Qty), 0, alt_ref=AltRef)
        return _receipt_head(ctx.app.erp.post_receipt(CustRef, line, _date(RcptDate, "RcptDate")))

    @rpc(_text("[0-9]{10}"), _text(formats.NUMBER), _returns=OrderPage)
    def ListSalesOrders(ctx: Any, AfterNo: str, MaxRows: str) -> OrderPage:
        limit = max(1, min(int(MaxRows), PAGE_ROWS))
        orders = ctx.app.erp.orders(AfterNo, limit + 1)
        return OrderPage(
            Orders=[_order_row(order) for order in orders[:limit]],
            NextNo=orders[limit - 1].head.number if len(orders) > limit else None,
        )


def _article(ref: Any) -> tuple[str, str]:
    if not (ref.ArtNo or ref.AltRef):
        raise Refusal("ERR-010", "ARTICLE MISSING", "ArtNo")
    return ref.ArtNo or "", ref.AltRef or ""


def _line(line: Any) -> Line:
    number, alt_ref = _article(line)
    if int(line.Qty) == 0:
        raise Refusal("ERR-010", "QUANTITY IS ZERO", "Qty")
    return Line(int(line.Qty), int(line.UnitPrc), number, alt_ref)


def _signed(text: str) -> int:
    quantity = formats.read_signed_number(text)
    if quantity == 0:
        raise Refusal("ERR-010", "QUANTITY IS ZERO", "Qty")
    return quantity


def _date(text: str, field: str) -> date:
    try:
        return formats.read_date(text)
    except ValueError:
        raise Refusal("ERR-010", "NO SUCH DATE", field) from None


def _order_head(order: Order) -> OrderHead:
    return OrderHead(
        OrdNo=order.number,
        CustRef=order.cust_ref,
        Stat=order.status,
        Shipments=formats.signed_number(order.shipments),
    )


def _order_row(order: OrderRecord) -> OrderRow:
    return OrderRow(
        OrdNo=order.head.number,
        CustRef=order.head.cust_ref,
        Stat=order.head.status,
        Shipments=formats.signed_number(order.head.shipments),
        SoldTo=order.cust_no or None,
        Curr=order.currency or None,
        Lines=[
            OrderRecordLine(
                ArtNo=line.article_no,
                AltRef=line.alt_ref,
                Qty=formats.signed_number(line.quantity),
                UnitPrc=formats.signed_number(line.unit_cents),
            )
            for line in order.lines
        ],
        ShpRefs=[ShipmentRef(ShpNo=number) for number in order.shipments],
    )


def _shipment_head(shipment: Shipment) -> ShipmentHead:
    return ShipmentHead(
        ShpNo=shipment.number,
        CustRef=shipment.cust_ref,
        Stat=shipment.status,
        ShpDate=formats.date_text(shipment.ships_on),
    )


def _receipt_head(receipt: Receipt) -> ReceiptHead:
    return ReceiptHead(
        RcptNo=receipt.number,
        CustRef=receipt.cust_ref,
        AltRef=receipt.alt_ref,
        Qty=formats.signed_number(receipt.quantity),
    )


class SalesApplication(Application):
    """Spyne's application with the ERP behind it; every error leaves as a fault with an ERR code."""

    def __init__(self, erp: Erp, sessions: Sessions) -> None:
        super().__init__(
            [SalesService],
            tns=NAMESPACE,
            name="ErpSales",
            in_protocol=Soap11(validator="lxml"),
            out_protocol=Soap11(),
        )
        self.erp = erp
        self.sessions = sessions
        self.event_manager.add_listener("method_exception_object", _give_code)

    def call_wrapper(self, ctx: Any) -> Any:
        """Check the session, run the operation, turn its refusal into a fault."""
        try:
            if ctx.descriptor.name != "Login":
                self.sessions.check(getattr(ctx.in_header, "SessionId", None) or "")
            return super().call_wrapper(ctx)
        except Refusal as refusal:
            raise _fault("Client", refusal) from None
        except Exception:
            log.exception("%s failed", ctx.descriptor.name)
            raise _fault("Server", Refusal("ERR-999", "INTERNAL ERROR")) from None


def _fault(side: str, refusal: Refusal) -> Fault:
    detail = {"ErpError": {"Code": refusal.code, "Text": refusal.text, "Item": refusal.item}}
    return Fault(side, str(refusal), detail=detail)


def _give_code(ctx: Any) -> None:
    """Give Spyne's own refusals (bad XML, an unknown operation, a schema violation) a code of ours, too."""
    if not isinstance(ctx.out_error.detail, dict):
        reason = ctx.out_error.faultstring
        reason = reason.decode() if isinstance(reason, bytes) else reason
        ctx.out_error = _fault("Client", Refusal("ERR-090", f"MESSAGE REFUSED: {reason[:200]}"))


def soap_application(erp: Erp, sessions: Sessions, address: str) -> WSGIApplication:
    """The ERP as a WSGI application: SOAP on POST, the WSDL on `?wsdl`, which names `address` as the service's."""
    application = WsgiApplication(SalesApplication(erp, sessions))
    # Spyne makes the WSDL once: left to the first request, it would name the host in that request, for good.
    application.doc.wsdl11.build_interface_document(address)
    served: WSGIApplication = application
    return served
