"""shop.inventory.v1 over gRPC: parse, call one use case, render."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from chassis import wall_clock
from chassis.auth.identity import admin, anyone, current_principal, service
from chassis.errors import Kind, ShopError
from chassis.grpc.timestamps import timestamp
from chassis.pagination import decode_cursor, encode_cursor, page_size
from protos.shop.inventory.v1 import inventory_pb2 as pb
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceServicer
from services.inventory.domain import Line, Stock
from services.inventory.use_cases import Inventory

_MAX_PAGE = 1_000

# What is wrong with a report itself, however often it is sent. Any other error is not about the report: the
# scanner keeps it and sends it again.
_REFUSALS = frozenset({Kind.INVALID, Kind.NOT_FOUND, Kind.CONFLICT, Kind.PRECONDITION})

_sagas = service("orders", "order_worker")

POLICY = {
    "CheckAvailability": anyone,
    "Reserve": _sagas,
    "Confirm": _sagas,
    "Release": _sagas,
    "Ship": _sagas,
    "SyncStock": admin,
    "ListReservations": admin,
    "ListStock": admin,
}


class InventoryApi(InventoryServiceServicer):
    def __init__(self, use_cases: Inventory) -> None:
        self._inventory = use_cases

    async def CheckAvailability(
        self, request: pb.CheckAvailabilityRequest, context: Any
    ) -> pb.CheckAvailabilityResponse:
        found = await self._inventory.availability(request.product_ids, live=request.live)
        items = [
            pb.Availability(
                product_id=item.product_id, available=item.available, stale=item.stale, as_of=timestamp(item.as_of)
            )
            for item in found
        ]
        return pb.CheckAvailabilityResponse(items=items)

    async def Reserve(self, request: pb.ReserveRequest, context: Any) -> pb.ReserveResponse:
        await self._inventory.reserve(
            request.order_id, [Line(item.product_id, item.quantity) for item in request.items]
        )
        return pb.ReserveResponse()

    async def Confirm(self, request: pb.ConfirmRequest, context: Any) -> pb.ConfirmResponse:
        await self._inventory.confirm(request.order_id)
        return pb.ConfirmResponse()

    async def Release(self, request: pb.ReleaseRequest, context: Any) -> pb.ReleaseResponse:
        await self._inventory.release(request.order_id)
        return pb.ReleaseResponse()

    async def Ship(self, request: pb.ShipRequest, context: Any) -> pb.ShipResponse:
        await self._inventory.ship(request.order_id)
        return pb.ShipResponse()

    async def SyncStock(
        self, request_iterator: AsyncIterator[pb.StockAdjustment], context: Any
    ) -> AsyncIterator[pb.StockLevel]:
        """Book each report before the next one is read: a client that does not read the answers is slowed down.

        To grpc.aio a stream that broke off looks like one that has ended, and here it need not look different: nothing
        is done at the end, each report is whole and was booked by itself. The scanner has its answers.
        """
        caller = current_principal()
        async for adjustment in request_iterator:
            if caller.expires_at <= wall_clock.seconds():
                # A scanner's stream may last a day; its token does not.
                raise ShopError("INVALID_TOKEN", "the token has expired", Kind.UNAUTHENTICATED)
            level = pb.StockLevel(adjustment_id=adjustment.id, product_id=adjustment.product_id)
            try:
                stock = await self._inventory.adjust(adjustment.id, Line(adjustment.product_id, adjustment.quantity))
                level.available = stock.available
            except ShopError as error:
                if error.kind not in _REFUSALS:
                    raise
                # One refused report must not end the scanner's stream.
                level.error_code = error.code
            yield level

    async def ListReservations(self, request: pb.ListReservationsRequest, context: Any) -> pb.ListReservationsResponse:
        size = page_size(request.page_size or _MAX_PAGE, limit=_MAX_PAGE)
        page = await self._inventory.reservations(_after(request.cursor), size)
        reservations = [
            pb.Reservation(
                order_id=found.order_id,
                state=found.state,
                items=[pb.ReservationItem(product_id=line.product_id, quantity=line.quantity) for line in found.lines],
                expires_at=timestamp(found.expires_at) if found.expires_at else None,
            )
            for found in page
        ]
        cursor = encode_cursor(page[-1].order_id) if len(page) == size else ""
        return pb.ListReservationsResponse(reservations=reservations, next_cursor=cursor)

    async def ListStock(self, request: pb.ListStockRequest, context: Any) -> pb.ListStockResponse:
        size = page_size(request.page_size or _MAX_PAGE, limit=_MAX_PAGE)
        page, levels = await self._inventory.stock(_after(request.cursor), size)
        cursor = encode_cursor(page[-1].product_id) if len(page) == size else ""
        stock = [_message(each, levels.get(each.product_id)) for each in page]
        return pb.ListStockResponse(stock=stock, next_cursor=cursor)


def _after(cursor: str) -> str:
    return decode_cursor(cursor, parts=1)[0] if cursor else ""


def _message(stock: Stock, erp_on_hand: int | None) -> pb.Stock:
    return pb.Stock(
        product_id=stock.product_id,
        received=stock.received,
        available=stock.available,
        reserved=stock.reserved,
        shipped=stock.shipped,
        erp_on_hand=erp_on_hand,
    )
