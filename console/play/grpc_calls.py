"""Calls over gRPC: a method by its name, its request as JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import grpc.aio
import orjson
from google.protobuf import json_format, message_factory

from chassis.auth.tls import Tls
from chassis.errors import ShopError, invalid
from chassis.grpc.client import Client, connect
from chassis.observability.tracing import Telemetry
from console.play.call import Answer
from console.wire.protobuf import methods

_TIMEOUT = 5.0


class GrpcCalls:
    """`addresses` are those of the processes that may be called; channels are opened when first used."""

    def __init__(self, addresses: Mapping[str, str], tls: Tls | None, telemetry: Telemetry) -> None:
        self._addresses = addresses
        self._tls = tls
        self._telemetry = telemetry
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._stack = AsyncExitStack()

    async def make(self, target: str, method: str, body: str, token: str) -> Answer:
        """`method` is "shop.catalog.v1.CatalogService/GetProducts". Raises INVALID_INPUT for what is not there."""
        known = methods().get(method)
        if target not in self._addresses or known is None:
            raise invalid(
                "the call cannot be made",
                target=f"must be one of {', '.join(self._addresses)}",
                path="must be / and a method of the shop, as /shop.catalog.v1.CatalogService/GetProducts",
            )
        request = message_factory.GetMessageClass(known.input_type)()
        try:
            json_format.Parse(body or "{}", request)
        except json_format.ParseError as error:
            raise invalid("the call cannot be made", body=str(error)) from error
        response_class = message_factory.GetMessageClass(known.output_type)
        call: Any = (await self._channel(target)).unary_unary(
            f"/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response_class.FromString,
        )

        async def shown() -> str:
            return token

        client = Client(target, self._telemetry, token=shown, timeout=_TIMEOUT)
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

    async def _channel(self, target: str) -> grpc.aio.Channel:
        if target not in self._channels:
            opening = connect(self._addresses[target], tls=self._tls)
            self._channels[target] = await self._stack.enter_async_context(opening)
        return self._channels[target]

    async def close(self) -> None:
        await self._stack.aclose()
