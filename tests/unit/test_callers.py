"""`shop call`: as whom it calls."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from protos.shop.users.v1 import users_pb2
from shop import sign_in
from shop.errors import Refused
from shop.rpc import calling

METHOD = users_pb2.DESCRIPTOR.services_by_name["UserService"].methods_by_name["GetUsers"]


class Users(grpc.GenericRpcHandler):
    """A stub: signs some accounts in, and lets the administrator alone read users."""

    def __init__(self, *accounts: str) -> None:
        self._accounts = accounts

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method, as gRPC asks for it."""
        if handler_call_details.method.endswith("/IssueToken"):
            read: Any = users_pb2.IssueTokenRequest.FromString
            answer = self._sign_in
        else:
            read, answer = users_pb2.GetUsersRequest.FromString, self._read
        return grpc.unary_unary_rpc_method_handler(answer, read, lambda message: message.SerializeToString())

    def _sign_in(self, request: Any, context: Any) -> Any:
        if request.email not in self._accounts:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong email or password")
        return users_pb2.IssueTokenResponse(access_token=request.email)

    def _read(self, request: Any, context: Any) -> Any:
        if ("authorization", f"Bearer {sign_in.ADMIN}") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "administrators only")
        return users_pb2.GetUsersResponse()


@contextmanager
def served(users: Users) -> Iterator[tuple[grpc.Channel, dict[str, str]]]:
    server = grpc.server(ThreadPoolExecutor(2), handlers=[users])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with grpc.insecure_channel(address) as channel:
            yield channel, {"SHOP_USERS_ADDRESS": address, "SHOP_KEYRING": "off"}
    finally:
        server.stop(None)


def called(users: Users, caller: str = "") -> int:
    with served(users) as (channel, env):
        return len(list(calling._answers(channel, METHOD, [users_pb2.GetUsersRequest()], env, caller)))


def test_an_account_that_cannot_sign_in_gives_way_to_the_next() -> None:
    """As without the demo customer: the administrator is asked for then."""
    assert called(Users(sign_in.ADMIN)) == 1


def test_all_accounts_that_cannot_sign_in_are_named() -> None:
    """Where none can, the refusal names each; where one is denied by the service, that is the answer."""
    with pytest.raises(Refused, match=rf"{sign_in.CUSTOMER}.*\n.*{sign_in.ADMIN}"):
        called(Users())
    with pytest.raises(calling.CallFailed, match=r"administrators only.*PERMISSION_DENIED"):
        called(Users(sign_in.CUSTOMER))
    with pytest.raises(Refused, match=f"sign-in failed for {sign_in.ADMIN}"):
        called(Users(sign_in.CUSTOMER), caller=sign_in.ADMIN)
