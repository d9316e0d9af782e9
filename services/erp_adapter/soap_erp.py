"""The Erp port on the legacy ERP: each method is one call over SOAP between two translations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from chassis.errors import Kind, ShopError
from chassis.resilience.request_coalescing import CoalescedReads
from services.erp_adapter import translation
from services.erp_adapter.domain import GoodsReceipt, NewSalesOrder, SalesOrder, Shipment, StockLevel, check_reference
from services.erp_adapter.ports import Soap
from services.erp_adapter.translation import ErpFault

T = TypeVar("T")

log = logging.getLogger(__name__)


class SoapErp:
    """Implements `ports.Erp`."""

    def __init__(self, soap: Soap) -> None:
        self._soap = soap
        self._reads = CoalescedReads("the ERP", self._read_levels)

    async def stock_levels(self, product_ids: Sequence[str]) -> list[StockLevel]:
        for product_id in product_ids:
            # Here, because the call is shared: one caller's mistake must not become every caller's.
            check_reference("product_ids", product_id)
        found = await self._reads.get(product_ids)
        return [found[product_id] for product_id in product_ids if product_id in found]

    async def register(self, order: NewSalesOrder) -> str:
        request = translation.order_request(order)
        products = [item.product_id for item in order.items]
        return (await self._call_creating(products, "CreateSalesOrder", request, translation.sales_order)).number

    async def cancel(self, order_id: str) -> None:
        await self._call("CancelSalesOrder", translation.reference_request(order_id), translation.sales_order)

    async def ship(self, order_id: str) -> Shipment:
        shipment = await self._call("CreateShipment", translation.reference_request(order_id), translation.shipment)
        self._reads.forget()
        return shipment

    async def shipment(self, order_id: str) -> Shipment:
        return await self._call("GetShipmentStatus", translation.reference_request(order_id), translation.shipment)

    async def post_receipt(self, receipt: GoodsReceipt) -> None:
        request = translation.receipt_request(receipt)
        await self._call_creating([receipt.product_id], "PostGoodsReceipt", request, lambda _: None)
        self._reads.forget()

    async def sales_orders(self, after: str, limit: int) -> tuple[list[SalesOrder], str]:
        return await self._call("ListSalesOrders", translation.page_request(after, limit), translation.sales_orders)

    async def _call_creating(
        self, product_ids: Sequence[str], operation: str, request: Mapping[str, Any], read: Callable[[Any], T]
    ) -> T:
        """Call an operation; where the ERP refuses it for an unknown product, create these and call it once more.

        Our catalogue decides what is sold; the ERP gets a new product with its first order or receipt.
        """
        try:
            return await self._call(operation, request, read)
        except ShopError as error:
            if error.code != "PRODUCT_UNKNOWN":
                raise
        for product_id in product_ids:
            await self._call("CreateArticle", translation.article_request(product_id), str)
        return await self._call(operation, request, read)

    async def _read_levels(self, product_ids: Sequence[str]) -> dict[str, StockLevel]:
        levels = await self._call("GetStockLevel", translation.stock_request(product_ids), translation.stock_levels)
        return {level.product_id: level for level in levels}

    async def _call(self, operation: str, request: Mapping[str, Any], read: Callable[[Any], T]) -> T:
        try:
            return read(await self._soap.call(operation, request))
        except ErpFault as fault:
            error = translation.error_of(fault)
            if error.kind not in (Kind.PRECONDITION, Kind.NOT_FOUND):
                # The error does not carry the ERP's own words; an operator needs them.
                words = fault.text if fault.text.startswith(fault.code) else str(fault)
                again = " (will be retried)" if error.kind is Kind.UNAVAILABLE else ""
                log.warning("ERP refused %s: %s%s", operation, f"{words} {fault.item}".strip(), again)
            raise error from fault
        except (ValueError, AttributeError, TypeError) as surprise:
            log.warning("ERP answer to %s is unreadable: %s", operation, surprise)
            message = "the ERP's answer cannot be read"
            raise ShopError("ERP_ANSWER_UNREADABLE", message, Kind.UNAVAILABLE, retry_after=5.0) from surprise
