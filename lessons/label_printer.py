"""A client of the catalogue whose code was generated from the contract of last year: in it, field 5 is the price."""

from __future__ import annotations

import os
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def old_contract() -> tuple[Any, Any]:
    """Request and answer of GetProducts, as the label printer's stub has them, which was generated last year."""
    text, many = descriptor_pb2.FieldDescriptorProto.TYPE_STRING, descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    one = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    file = descriptor_pb2.FileDescriptorProto(name="labels/catalog.proto", package="labels", syntax="proto3")
    product = file.message_type.add(name="Product")
    for name, number in (("id", 1), ("name", 2), ("price", 5), ("currency", 6)):
        product.field.add(name=name, number=number, type=text, label=one)
    file.message_type.add(name="Request").field.add(name="ids", number=1, type=text, label=many)
    message = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
    answer = file.message_type.add(name="Answer")
    answer.field.add(name="products", number=1, type=message, type_name=".labels.Product", label=many)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = (pool.FindMessageTypeByName(f"labels.{name}") for name in ("Request", "Answer"))
    request_class, answer_class = (message_factory.GetMessageClass(each) for each in found)
    return request_class, answer_class


async def printed(product: str) -> Any:
    """What stands on the label."""
    request_class, answer_class = old_contract()
    async with grpc.aio.insecure_channel(os.environ["SHOP_CATALOG_ADDRESS"]) as channel:
        call = channel.unary_unary(
            "/shop.catalog.v1.CatalogService/GetProducts",
            request_serializer=request_class.SerializeToString,
            response_deserializer=answer_class.FromString,
        )
        answer = await call(request_class(ids=[product]), timeout=10)
    return answer.products[0].price
