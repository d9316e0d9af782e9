"""shop.erp.v1 over gRPC: parse, call the port, render."""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

from chassis.auth.identity import admin, service
from chassis.errors import invalid
from chassis.grpc.timestamps import moment, timestamp
from chassis.pagination import decode_cursor, encode_cursor, page_size
from protos.shop.erp.v1 import erp_pb2 as pb
from protos.shop.erp.v1.erp_pb2_grpc import ErpServiceServicer
from services.erp_adapter.domain import GoodsReceipt, Item, NewSalesOrder, Shipment
from services.erp_adapter.ports import Erp

POLICY = {
    "GetStockLevels": service("inventory"),
    "RegisterSalesOrder": service("order_worker"),
    "CancelSalesOrder": service("order_worker"),
    "CreateShipment": service("order_worker"),
    "GetShipment": service("order_worker"),
    "PostGoodsReceipt": service("inventory"),
    "ListSalesOrders": admin,
}

MAX_PRODUCTS = 100
MAX_ORDERS = 1_000


class ErpApi(ErpServiceServicer):
    def __init__(self, erp: Erp) -> None:
        self._erp = erp

    async def GetStockLevels(self, request: pb.GetStockLevelsRequest, context: Any) -> pb.GetStockLevelsResponse:
        if len(request.product_ids) > MAX_PRODUCTS:
            at_most = f"must have at most {MAX_PRODUCTS} ids"
            raise invalid(f"request {at_most}", product_ids=at_most)
        levels = await self._erp.stock_levels(list(dict.fromkeys(request.product_ids)))
        return pb.GetStockLevelsResponse(
            levels=[
                pb.StockLevel(product_id=level.product_id, on_hand=level.on_hand, as_of=timestamp(level.as_of))
                for level in levels
            ]
        )

    async def RegisterSalesOrder(
        self, request: pb.RegisterSalesOrderRequest, context: Any
    ) -> pb.RegisterSalesOrderResponse:
        order = NewSalesOrder(
            order_id=request.order_id,
            customer_id=request.customer_id,
            items=[Item(item.product_id, item.quantity, _amount(item.unit_price)) for item in request.items],
            currency=request.currency,
            placed_at=moment(request, "placed_at"),
        )
        return pb.RegisterSalesOrderResponse(sales_order_number=await self._erp.register(order))

    async def CancelSalesOrder(self, request: pb.CancelSalesOrderRequest, context: Any) -> pb.CancelSalesOrderResponse:
        await self._erp.cancel(request.order_id)
        return pb.CancelSalesOrderResponse()

    async def CreateShipment(self, request: pb.CreateShipmentRequest, context: Any) -> pb.CreateShipmentResponse:
        return pb.CreateShipmentResponse(shipment=_shipment(await self._erp.ship(request.order_id)))

    async def GetShipment(self, request: pb.GetShipmentRequest, context: Any) -> pb.GetShipmentResponse:
        return pb.GetShipmentResponse(shipment=_shipment(await self._erp.shipment(request.order_id)))

    async def PostGoodsReceipt(self, request: pb.PostGoodsReceiptRequest, context: Any) -> pb.PostGoodsReceiptResponse:
        received_at = moment(request, "received_at")
        await self._erp.post_receipt(
            GoodsReceipt(request.receipt_id, request.product_id, request.quantity, received_at)
        )
        return pb.PostGoodsReceiptResponse()

    async def ListSalesOrders(self, request: pb.ListSalesOrdersRequest, context: Any) -> pb.ListSalesOrdersResponse:
        after = decode_cursor(request.cursor, parts=1)[0] if request.cursor else ""
        orders, following = await self._erp.sales_orders(
            after, page_size(request.page_size or MAX_ORDERS, limit=MAX_ORDERS)
        )
        return pb.ListSalesOrdersResponse(
            sales_orders=[
                pb.SalesOrder(
                    order_id=order.order_id,
                    sales_order_number=order.number,
                    state=order.state,
                    shipments=order.shipments,
                    customer_id=order.customer_id,
                    currency=order.currency,
                    items=[
                        pb.SalesOrderItem(
                            product_id=item.product_id, quantity=item.quantity, unit_price=str(item.unit_price)
                        )
                        for item in order.items
                    ],
                    shipment_numbers=order.shipment_numbers,
                )
                for order in orders
            ],
            next_cursor=encode_cursor(following) if following else "",
        )


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise invalid(f"{text[:32]!r} is not an amount", unit_price="must be a decimal string") from None


def _shipment(shipment: Shipment) -> pb.Shipment:
    return pb.Shipment(
        order_id=shipment.order_id,
        shipment_number=shipment.number,
        state=shipment.state,
        # The ERP names a day; it begins at midnight UTC.
        ships_on=timestamp(datetime.combine(shipment.ships_on, time(), UTC)),
    )
