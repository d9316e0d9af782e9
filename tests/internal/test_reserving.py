"""What is published of the stock when an order reserves."""

from __future__ import annotations

import json

from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from protos.shop.events.v1.events_pb2 import StockChanged
from services.inventory.sql_store.rows import stock_changed

figures = st.integers(0, 2**62)


@given(st.text(st.characters(codec="utf-8"), max_size=70), figures, figures, figures)
def test_the_event_is_the_contracts(product_id: str, available: int, reserved: int, shipped: int) -> None:
    """`stock.changed` is written by hand, and says what protobuf's own JSON mapping says."""
    message = StockChanged(product_id=product_id, available=available, reserved=reserved, shipped=shipped)
    expected = {"product_id": product_id} | MessageToDict(message, preserving_proto_field_name=True)
    assert json.loads(stock_changed(product_id, available, reserved, shipped).data) == expected
