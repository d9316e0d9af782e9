"""The variants that are compared: which adapter, with which options, and what stands on the wire."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Variant:
    """`wire` names the reader of its bytes; `server_options` and `client_options` are its adapter's."""

    name: str
    title: str
    adapter: str
    wire: str
    client_options: tuple[str, ...] = ()
    server_options: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        return f"bench.compare.adapters.{self.adapter}"

    def with_options(self, *options: str) -> tuple[str, ...]:
        return (*self.client_options, *options)


# The bare level's single read, in the order in which tables show them.
READS: tuple[Variant, ...] = (
    Variant("rest", "REST (JSON)", "rest", "http1"),
    Variant("graphql", "GraphQL", "graphql", "http1"),
    Variant("grpc", "gRPC in Python", "grpc_aio", "http2"),
    Variant("connect-json", "Connect (JSON)", "connect", "http1", ("json",)),
    Variant("connect-proto", "Connect (protobuf)", "connect", "http1"),
    Variant("grpc-web", "gRPC-Web", "connect", "http1", ("grpc-web",)),
    Variant("websocket", "WebSocket request/reply", "websocket", "websocket"),
    Variant("soap", "SOAP 1.1", "soap", "http1"),
)
AMQP_TITLE = "AMQP request/reply by RabbitMQ"


def reads(env: Mapping[str, str]) -> tuple[Variant, ...]:
    """The variants of the single read: with AMQP where SHOP_BROKER_URL names a RabbitMQ.

    Every run has a queue of its own, which goes with its server; nothing else in the broker is touched.
    """
    url = env.get("SHOP_BROKER_URL", "")
    if not url.startswith("amqp"):
        return READS
    own = (url, f"compare-{uuid.uuid4().hex}")
    return (*READS, Variant("amqp", AMQP_TITLE, "amqp", "amqp", own, own))


BY_NAME = {variant.name: variant for variant in READS}
TITLES: dict[str, Any] = {**{variant.name: variant.title for variant in READS}, "amqp": AMQP_TITLE}
