"""The same rows as protobuf messages of shop.catalog.v1, for gRPC, gRPC-Web and Connect alike."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from bench.compare.adapters import rows
from protos.shop.catalog.v1 import catalog_pb2 as pb


def message(request: pb.GetProductsRequest) -> pb.GetProductsResponse:
    """The server's side of a single read: id, name and price."""
    found = pb.GetProductsResponse()
    for each in request.ids:
        row = rows.brief(each)
        found.products.add(id=row["id"], name=row["name"], price=row["price"])
    return found


def page_message(request: pb.ListProductsRequest) -> pb.ListProductsResponse:
    """The server's side of a page: all eight fields of each row."""
    found = pb.ListProductsResponse()
    for row in rows.page(request.page_size):
        texts = {name: value for name, value in row.items() if name != "updated_at"}
        found.products.add(**texts).updated_at.FromDatetime(datetime.fromisoformat(row["updated_at"]))
    return found


def briefly(answer: pb.GetProductsResponse) -> dict[str, str]:
    """The client's side of a single read."""
    return {name: getattr(answer.products[0], name) for name in rows.BRIEF}


def page_rows(answer: pb.ListProductsResponse, fields: Sequence[str]) -> list[dict[str, str]]:
    """The client's side of a page: only these fields, as a client of JSON takes only these."""
    return [{name: _text(each, name) for name in fields} for each in answer.products]


def _text(product: pb.Product, name: str) -> str:
    if name == "updated_at":
        # As JSON has it, with six digits: protobuf's own text has three for a whole millisecond.
        return product.updated_at.ToDatetime(UTC).isoformat().replace("+00:00", "Z")
    return str(getattr(product, name))
