"""Makes a call of any of gRPC's four kinds, as the first of several callers that the service admits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from chassis.grpc.client import DIRECT
from chassis.grpc.errors import error_from
from chassis.settings import ProcessSettings
from protos.shop.users.v1.users_pb2 import IssueServiceTokenRequest, IssueTokenRequest
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from shop import sign_in
from shop.commands.processes.certs import COMMAND_LINE
from shop.errors import Refused, nearest
from shop.process_table import TABLE
from shop.rpc import described
from shop.supervisor.environment import running
from shop.urls import url_of

_TIMEOUT = 10.0
# Contexts whose process has another name.
_PROCESSES = {"erp": "erp_adapter", "webhooks": "webhook_worker"}
_UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


class _SignInFailed(Refused):
    """`users` does not sign this caller in; it may another one."""


class CallFailed(Exception):
    """The service has answered with an error; the text is it, and its code."""


def call(
    service: str,
    method: str,
    arguments: Sequence[str],
    lines: Iterable[str],
    env: Mapping[str, str],
    *,
    caller: str = "",
    limit: int = 0,
) -> Iterator[Message]:
    """The answers, at most `limit` (0: all). `caller`: an account or a process; empty: the first that is admitted.

    Raises `Refused` before anything is sent, and `CallFailed` for what the service answers.
    """
    process = _process(service)
    with _channel(process, env) as channel:
        try:
            found = described.find(described.methods(channel), method)
        except grpc.RpcError as error:
            raise _unreachable(process, error, env) from error
        messages = described.requests(found, arguments, lines)
        yield from islice(_answers(channel, found, messages, env, caller), limit or None)


def listed(service: str, env: Mapping[str, str]) -> list[str]:
    """A line for each method of a service: its name, what it takes and answers."""
    process = _process(service)
    with _channel(process, env) as channel:
        try:
            found = described.methods(channel)
        except grpc.RpcError as error:
            raise _unreachable(process, error, env) from error
        return [_line(method) for method in found.values()]


def as_json(message: Message) -> dict[str, Any]:
    """An answer by protobuf's JSON mapping, with the contract's own names."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _line(method: MethodDescriptor) -> str:
    taken = ", ".join(method.input_type.fields_by_name)
    sends = "stream of " if method.client_streaming else ""
    gets = "stream of " if method.server_streaming else ""
    return f"{method.name}({sends}{taken}) -> {gets}{method.output_type.name}"


def _answers(
    channel: grpc.Channel, method: MethodDescriptor, messages: list[Message], env: Mapping[str, str], caller: str
) -> Iterator[Message]:
    """Call as each caller until one is answered: a refusal of the caller precedes all effects, so the next may try."""
    callers = [caller] if caller else _callers(env)
    not_signed_in: list[str] = []
    denied: CallFailed | None = None
    answered = False
    for each in callers:
        try:
            token = _token(each, env)
        except _SignInFailed as refusal:
            not_signed_in.append(str(refusal))
            continue
        try:
            for answer in _once(channel, method, messages, token):
                answered = True
                yield answer
        except grpc.RpcError as failure:
            error: Any = failure
            denied = _failed(error, method)
            if error.code() not in _REFUSED or answered:
                raise denied from failure
        else:
            return
    raise denied or _SignInFailed("\n".join(not_signed_in))


def _failed(error: Any, method: MethodDescriptor) -> CallFailed:
    shop_error = error_from(error, method.containing_service.name)
    why = "".join(f"\n  {field}: {reason}" for field, reason in shop_error.fields.items())
    return CallFailed(f"{shop_error} (gRPC status {error.code().name}){why}")


def _once(channel: grpc.Channel, method: MethodDescriptor, messages: list[Message], token: str) -> Iterator[Message]:
    path = f"/{method.containing_service.full_name}/{method.name}"
    sending: Any = iter(messages) if method.client_streaming else messages[0]
    kind = "stream" if method.client_streaming else "unary"
    kind += "_stream" if method.server_streaming else "_unary"
    make = getattr(channel, kind)(
        path,
        request_serializer=method.input_type._concrete_class.SerializeToString  # noqa: SLF001 - set by GetMessageClass
        if hasattr(method.input_type, "_concrete_class")
        else GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    metadata = [("authorization", f"Bearer {token}")] if token else []
    if method.server_streaming:
        # No deadline: such a stream may go on for as long as its reader takes.
        answers = make(sending, metadata=metadata)
        try:
            yield from answers
        finally:
            answers.cancel()
    else:
        yield make(sending, metadata=metadata, timeout=_TIMEOUT)


def _process(service: str) -> str:
    """The process of a service: by its own name, or by "shop.orders.v1.OrderService". Raises `Refused`."""
    parts = service.split(".")
    name = parts[1] if len(parts) > 2 and parts[0] == "shop" else service
    name = _PROCESSES.get(name, name)
    known = [spec.name for spec in TABLE if any(port.addresses[0].endswith("_ADDRESS") for port in spec.ports[:1])]
    if name not in known:
        raise Refused(f'no gRPC service "{service}"{nearest(name, known, else_="; there are: " + ", ".join(known))}')
    return name


@contextmanager
def _channel(process: str, env: Mapping[str, str]) -> Iterator[grpc.Channel]:
    address = url_of(process, env).rpartition("//")[2]
    tls = ProcessSettings().tls(COMMAND_LINE)
    if tls is None:
        channel = grpc.insecure_channel(address, options=[DIRECT])
    else:
        channel = grpc.secure_channel(address, tls.rpc_client(), options=[DIRECT])
    try:
        yield channel
    finally:
        channel.close()


def _callers(env: Mapping[str, str]) -> list[str]:
    """Accounts to try, least privileged first: a customer, an admin, then the services that we have secrets of."""
    return [sign_in.CUSTOMER, sign_in.ADMIN, *_secrets(env)]


def _secrets(env: Mapping[str, str]) -> Mapping[str, str]:
    return running(TABLE, env).service_secrets


def _token(caller: str, env: Mapping[str, str]) -> str:
    """A token for an account, or for a process. Raises `Refused`."""
    with _channel("users", env) as channel:
        users: Any = UserServiceStub(channel)
        try:
            if "@" in caller:
                request = IssueTokenRequest(email=caller, password=sign_in.password_of(caller))
                return str(users.IssueToken(request, timeout=_TIMEOUT).access_token)
            known = _secrets(env)
            if caller not in known:
                raise Refused(f'there is no account or service "{caller}"{nearest(caller, known)}')
            service = IssueServiceTokenRequest(service=caller, secret=known[caller])
            return str(users.IssueServiceToken(service, timeout=_TIMEOUT).access_token)
        except grpc.RpcError as failure:
            error: Any = failure
            # A service that does not answer would not to the next caller, either.
            kind = Refused if error.code() in _UNAVAILABLE else _SignInFailed
            raise kind(f"sign-in failed for {caller}: {error_from(error, 'users').message}") from failure


def _unreachable(process: str, error: Any, env: Mapping[str, str]) -> Refused:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return Refused(f"{process} does not describe itself: reflection is off where SHOP_ENV=production")
    address = url_of(process, env).rpartition("//")[2]
    return Refused(f'no shop is running here ({process} does not answer on {address}). Start one with "make up"')


def printed(message: Message, *, compact: bool) -> str:
    """An answer as JSON, on one line or on several."""
    return json.dumps(as_json(message), indent=None if compact else 2, ensure_ascii=False)
