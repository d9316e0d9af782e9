"""Calls over gRPC: a method by its name, its request as JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc.aio
import orjson
from google.protobuf import json_format, message_factory

from chassis.errors import ShopError, invalid
from chassis.grpc.client import Client
from chassis.observability.tracing import Telemetry
from console.decoders.protobuf import methods
from console.play.call import Answer

_TIMEOUT = 15.0


@dataclass(frozen=True, slots=True)
class GrpcCalls:
    """`channels` are those to the processes that may be called."""

    channels: Mapping[str, grpc.aio.Channel]
    telemetry: Telemetry

    async def make(self, target: str, method: str, body: str, token: str) -> Answer:
        """`method` is "shop.catalog.v1.CatalogService/GetProducts". Raises INVALID_INPUT for what is not there."""
        known = methods().get(method)
        if target not in self.channels or known is None:
            raise invalid(
                "the call cannot be made",
                target=f"must be one of {', '.join(self.channels)}",
                path="must be / and a method of the shop, as /shop.catalog.v1.CatalogService/GetProducts",
            )
        request = message_factory.GetMessageClass(known.input_type)()
        try:
            json_format.Parse(body or "{}", request)
        except json_format.ParseError as error:
            raise invalid("the call cannot be made", body=str(error)) from error
        response_class = message_factory.GetMessageClass(known.output_type)
        call: Any = self.channels[target].unary_unary(
            f"/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response_class.FromString,
        )

        async def shown() -> str:
            return token

        client = Client(target, self.telemetry, token=shown, timeout=_TIMEOUT)
        began = time.perf_counter()
        try:
            response: Any = await client.call(call, request)
        except ShopError as error:
            took = (time.perf_counter() - began) * 1_000
            return Answer(error.code, error.message, [], "", request.ByteSize(), 0, took, failed=True)
        took = (time.perf_counter() - began) * 1_000
        meaning = json_format.MessageToDict(response, preserving_proto_field_name=True)
        text = orjson.dumps(meaning, option=orjson.OPT_INDENT_2).decode()
        return Answer("OK", "", [], text, request.ByteSize(), response.ByteSize(), took)
