"""What the policy of a gRPC method declares is enforced by the running server, for every method of every service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from chassis.auth.identity import ANONYMOUS, Principal
from chassis.grpc.errors import error_from
from protos.shop.users.v1.users_pb2 import IssueServiceTokenRequest
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from tests.grpc_streams import described_services
from tests.shop import Shop, shop_in_one_loop

# The contract's module, the setting of the server's address or port, where its policy is.
SERVERS = [
    ("protos.shop.users.v1.users_pb2", "SHOP_USERS_ADDRESS", "services.users.grpc_api"),
    ("protos.shop.catalog.v1.catalog_pb2", "SHOP_CATALOG_ADDRESS", "services.catalog.grpc_api"),
    ("protos.shop.orders.v1.orders_pb2", "SHOP_ORDERS_ADDRESS", "services.orders.grpc_api"),
    ("protos.shop.inventory.v1.inventory_pb2", "SHOP_INVENTORY_ADDRESS", "services.inventory.grpc_api"),
    ("protos.shop.storage.v1.storage_pb2", "SHOP_STORAGE_ADDRESS", "services.storage.grpc_api"),
    ("protos.shop.erp.v1.erp_pb2", "SHOP_ERP_ADAPTER_ADDRESS", "services.erp_adapter.grpc_api"),
    ("protos.shop.reports.v1.reports_pb2", "SHOP_REPORTS_ADDRESS", "services.reports.grpc_api"),
    ("protos.shop.webhooks.v1.webhooks_pb2", "SHOP_WEBHOOKS_ADDRESS", "webhooks.incoming.grpc_api"),
    ("protos.shop.webhooks.v1.webhooks_pb2", "SHOP_WEBHOOKS_ADDRESS", "webhooks.outgoing.grpc_api"),
    ("opentelemetry.proto.collector.trace.v1.trace_service_pb2", "SHOP_CONSOLE_OTLP_PORT", "console.grpc_api"),
]
# In front of which stands no policy: health, and in development the contracts themselves.
_OF_EACH = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
# The stable codes of `chassis.auth.identity.check`. A wrong password, say, has a code of its own.
_REFUSED = ("UNAUTHENTICATED", "FORBIDDEN")


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop_in_one_loop(tmp_path) as running:
        yield running


def address(shop: Shop, setting: str) -> str:
    found = shop.address(setting)
    return f"127.0.0.1:{found}" if setting.endswith("_PORT") else found


async def callers(shop: Shop) -> list[tuple[Principal, str]]:
    """An anonymous caller, a customer, an admin, and each process with an identity of its own, with their tokens."""
    found = [
        (ANONYMOUS, ""),
        (Principal("123", "customer"), await shop.token()),
        (Principal("1", "admin"), await shop.token("admin@shop.test", "admin")),
    ]
    async with grpc.aio.insecure_channel(address(shop, "SHOP_USERS_ADDRESS")) as channel:
        users: Any = UserServiceStub(channel)
        for service, secret in shop.around.service_secrets.items():
            issued = await users.IssueServiceToken(IssueServiceTokenRequest(service=service, secret=secret))
            found.append((Principal(service, "service"), issued.access_token))
    return found


def methods(contract: str, policy: dict[str, Any]) -> list[MethodDescriptor]:
    """The methods that a policy speaks of; a method that no policy speaks of fails here."""
    services = import_module(contract).DESCRIPTOR.services_by_name.values()
    (service,) = [each for each in services if {method.name for method in each.methods} & policy.keys()]
    assert {method.name for method in service.methods} == policy.keys()
    return list(service.methods)


def code_of(channel: grpc.Channel, method: MethodDescriptor, token: str) -> str:
    """The stable error code of the answer to an empty request of this caller; `OK` where it is none.

    By gRPC's threaded client, for the reason that `tests/grpc_streams.py` gives.
    """
    kind = ("stream" if method.client_streaming else "unary") + "_" + ("stream" if method.server_streaming else "unary")
    call = getattr(channel, kind)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    empty = GetMessageClass(method.input_type)()
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    request = iter([empty]) if method.client_streaming else empty
    try:
        answer = call(request, metadata=metadata, timeout=30)
        if method.server_streaming:
            next(answer, None)
            answer.cancel()
    except grpc.RpcError as error:
        failed: Any = error  # which has all that one of grpc.aio has
        return error_from(failed, method.name).code
    return "OK"


async def test_no_server_has_a_service_without_a_policy(shop: Shop) -> None:
    """What a server says it has, by reflection, are the services whose policies are tried here, and no others."""
    listed: dict[str, set[str]] = {}
    for contract, setting, module in SERVERS:
        (first, *_) = methods(contract, import_module(module).POLICY)
        listed.setdefault(setting, set()).add(first.containing_service.full_name)
    for setting, services in listed.items():
        port = int(address(shop, setting).rpartition(":")[2])
        assert await described_services(port) == services | _OF_EACH, setting


async def test_what_a_policy_declares_is_enforced(shop: Shop) -> None:
    """Each method refuses exactly the callers whom its policy does not admit, streams included."""
    wrong, tried = [], 0
    known = await callers(shop)
    assert len(known) > 8
    for contract, setting, module in SERVERS:
        policy = import_module(module).POLICY
        with grpc.insecure_channel(address(shop, setting)) as channel:
            for method in methods(contract, policy):
                for principal, token in known:
                    code = await asyncio.to_thread(code_of, channel, method, token)
                    tried += 1
                    # The answer to an admitted caller's empty request is the method's own affair.
                    if (code in _REFUSED) is policy[method.name](principal):
                        wrong.append((method.full_name, principal.role or "nobody", principal.subject, code))
    assert tried > 300
    assert wrong == []
