"""The port of an ERP, independent of the product; and that of the legacy ERP's transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from services.erp_adapter.domain import GoodsReceipt, NewSalesOrder, SalesOrder, Shipment, StockLevel


class Erp(Protocol):
    """Every method may be repeated safely.

    Each raises UPSTREAM_UNAVAILABLE, ERP_MAINTENANCE, ERP_FAILED, ERP_LOGIN_REFUSED, ERP_ANSWER_UNREADABLE or
    ERP_CONTRACT_CHANGED, which are all worth another try later; DEADLINE_EXCEEDED; or INVALID_INPUT for what an ERP
    could never take.
    """

    async def stock_levels(self, product_ids: Sequence[str]) -> list[StockLevel]:
        """The levels of at most 100 products; unknown ones are left out."""

    async def register(self, order: NewSalesOrder) -> str:
        """The ERP's number for the order. Raises CREDIT_LIMIT_EXCEEDED or ORDER_CANCELLED.

        Raises REFERENCE_REUSED when the id is taken by an order of another customer, currency or content.
        """

    async def cancel(self, order_id: str) -> None:
        """Cancel an order for good, registered or not. Raises ORDER_SHIPPED."""

    async def ship(self, order_id: str) -> Shipment:
        """The order's shipment, created if need be. Raises NOT_FOUND or ORDER_CANCELLED."""

    async def shipment(self, order_id: str) -> Shipment:
        """The order's shipment. Raises NOT_FOUND."""

    async def post_receipt(self, receipt: GoodsReceipt) -> None:
        """Book goods. Raises REFERENCE_REUSED when the id is taken by a receipt of something else."""

    async def sales_orders(self, after: str, limit: int) -> tuple[list[SalesOrder], str]:
        """Up to `limit` orders after a position (empty: the start), and the next position (empty: the end)."""


class Soap(Protocol):
    async def call(self, operation: str, body: Mapping[str, Any]) -> Any:
        """The result of an operation. Raises a `ShopError` without an answer, or the ERP's own fault."""
