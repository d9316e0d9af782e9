"""The variants that are compared: which adapter, with which options, and what stands on the wire."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace

from yarl import URL

from shop.errors import Refused


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
# One connection, like gRPC. Another server and client than REST's: those do not speak HTTP/2.
HTTP2 = Variant("rest-http2", "REST (JSON), HTTP/2", "rest_http2", "http2-plain")
TRUSTED = Variant("graphql-trusted", "GraphQL, trusted document", "graphql", "http1", ("trusted",))
# The same adapters over TLS: what their rows have more than those above is TLS.
OVER_TLS: tuple[Variant, ...] = (
    Variant("rest-tls", "REST (JSON), TLS", "rest", "tls"),
    Variant("grpc-tls", "gRPC in Python, TLS", "grpc_aio", "tls"),
    Variant("websocket-tls", "WebSocket, TLS", "websocket", "tls"),
)
AMQP_TITLE = "AMQP over RabbitMQ"


def rabbitmq(env: Mapping[str, str]) -> str:
    """The RabbitMQ that SHOP_BROKER_URL names; "": none.

    Raises `Refused` for one that is not on this machine, or is spoken to over TLS: its bytes could not be counted.
    """
    url = URL(env.get("SHOP_BROKER_URL", ""))
    if not url.scheme.startswith("amqp"):
        return ""
    if url.scheme != "amqp" or url.host not in ("127.0.0.1", "localhost"):
        raise Refused(
            f"compare counts AMQP's bytes at a proxy on this machine: SHOP_BROKER_URL must begin with amqp:// and name "
            f"127.0.0.1 or localhost, not {url.scheme}://{url.host}; leave it empty to measure without AMQP"
        )
    return env["SHOP_BROKER_URL"]


def reads(env: Mapping[str, str], tls: str) -> tuple[Variant, ...]:
    """The variants of the single read: over TLS by this option, and AMQP where SHOP_BROKER_URL names a RabbitMQ.

    Every run has a queue of its own, which goes with its server; nothing else in the broker is touched.
    """
    secured = (replace(each, client_options=(tls,), server_options=(tls,)) for each in OVER_TLS)
    url = rabbitmq(env)
    own = (url, f"compare-{uuid.uuid4().hex}")
    brokered = [Variant("amqp", AMQP_TITLE, "amqp", "amqp", own, own)] if url else []
    return (*READS, TRUSTED, HTTP2, *secured, *brokered)


BY_NAME = {variant.name: variant for variant in READS}
# In the order in which tables show them: relatives beside each other, TLS and the broker last.
TITLES: dict[str, str] = {each.name: each.title for each in (READS[0], HTTP2, READS[1], TRUSTED, *READS[2:], *OVER_TLS)}
TITLES["amqp"] = AMQP_TITLE
