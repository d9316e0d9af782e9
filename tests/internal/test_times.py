"""google.protobuf.Timestamp holds more than any calendar: what is no time is refused, not stumbled over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import ShopError
from chassis.grpc.errors import status_of
from chassis.grpc.timestamps import moment, timestamp
from protos.shop.catalog.v1.catalog_pb2 import RefreshMaterialRequest
from protos.shop.erp.v1.erp_pb2 import PostGoodsReceiptRequest, RegisterSalesOrderRequest
from protos.shop.orders.v1.orders_pb2 import RecordDeliveryRequest
from services.catalog.grpc_api import CatalogApi
from services.erp_adapter.grpc_api import ErpApi
from services.orders.grpc_api import OrderApi

# What is behind them is not there: a time is looked at first.
NOBODY = cast("Any", None)
METHODS: dict[str, Callable[[Timestamp | None], Any]] = {
    "delivered_at": lambda at: OrderApi(NOBODY, NOBODY).RecordDelivery(RecordDeliveryRequest(delivered_at=at), None),
    "refreshed_at": lambda at: CatalogApi(NOBODY).RefreshMaterial(RefreshMaterialRequest(refreshed_at=at), None),
    "placed_at": lambda at: ErpApi(NOBODY).RegisterSalesOrder(RegisterSalesOrderRequest(placed_at=at), None),
    "received_at": lambda at: ErpApi(NOBODY).PostGoodsReceipt(PostGoodsReceiptRequest(received_at=at), None),
}
NO_TIMES = {
    "missing": None,
    "after the year 9999": Timestamp(seconds=253_402_300_800),
    "before the year 1": Timestamp(seconds=-62_135_596_801),
    "the largest number": Timestamp(seconds=2**63 - 1),
    "negative nanoseconds": Timestamp(nanos=-1),
    "more than a second of nanoseconds": Timestamp(nanos=1_000_000_000),
}


@pytest.mark.parametrize("field", METHODS)
@pytest.mark.parametrize("what", NO_TIMES)
async def test_what_is_no_time_is_refused(field: str, what: str) -> None:
    """A time that is missing or out of range is INVALID_ARGUMENT, and the field is named."""
    with pytest.raises(ShopError) as caught:
        await METHODS[field](NO_TIMES[what])
    assert status_of(caught.value)[0].name == "INVALID_ARGUMENT"
    assert caught.value.fields.keys() == {field}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-62_135_596_800, datetime(1, 1, 1, tzinfo=UTC)), (0, datetime(1970, 1, 1, tzinfo=UTC))],
)
def test_the_earliest_times(seconds: int, expected: datetime) -> None:
    """The first moment of the type is a time, and so is zero: it is set, not missing."""
    assert moment(RecordDeliveryRequest(delivered_at=Timestamp(seconds=seconds)), "delivered_at") == expected


@given(st.datetimes(timezones=st.just(UTC)))
def test_moments_travel_unchanged(at: datetime) -> None:
    """Every moment of the calendar is written as the type requires, to the microsecond, and read as it was."""
    by_the_library = Timestamp()
    by_the_library.FromDatetime(at)
    assert timestamp(at) == by_the_library
    assert moment(RefreshMaterialRequest(refreshed_at=timestamp(at)), "refreshed_at") == at
